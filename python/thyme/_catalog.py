"""What is committed, as the client needs it: names of keys and types of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Catalog:
    """The answer of `GET /api/v1/featuresets`, indexed by name.

    Attributes:
        commit: The commit it describes.
        content: The whole answer.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = dict(content)
        self.commit: str | None = content.get("commit")
        self._featuresets = {each["name"]: each for each in content.get("featuresets") or ()}
        self._datasets = {each["name"]: each for each in content.get("datasets") or ()}

    def featureset(self, name: str) -> dict[str, Any] | None:
        """The featureset called `name`."""
        return self._featuresets.get(name)

    def dataset(self, name: str) -> dict[str, Any] | None:
        """The dataset called `name`, or that version of one."""
        found = self._datasets.get(name)
        if found is None and "@" in name:
            base, _, version = name.partition("@")
            present = self._datasets.get(base)
            found = present if present is not None and str(present.get("version", 1)) == version else None
        return found

    @property
    def names(self) -> list[str]:
        """The names of all featuresets and datasets."""
        return [*self._featuresets, *self._datasets]

    def key_types(self, name: str) -> dict[str, str] | None:
        """The key fields of a featureset or dataset in order, each with its type; None if unknown."""
        featureset = self.featureset(name)
        if featureset is not None:
            known = {**self.types(name), **(featureset.get("entity_types") or {})}
            return {key: known.get(key, "str") for key in featureset.get("entity") or ()}
        dataset = self.dataset(name)
        if dataset is None:
            return None
        return {f["name"]: f["type"] for f in dataset.get("fields") or () if f.get("role") == "key"}

    def types(self, name: str) -> dict[str, str]:
        """The type of each feature of a featureset, or each field of a dataset; empty if unknown.

        A feature is also there under the names that it had before and that still answer.
        """
        featureset = self.featureset(name)
        if featureset is not None:
            return {
                name: each["type"]
                for each in featureset.get("features") or ()
                if "type" in each
                for name in (*(each.get("former_names") or ()), each["name"])
            }
        fields = (self.dataset(name) or {}).get("fields") or ()
        return {each["name"]: each["type"] for each in fields if "type" in each}

    def request_features(self, name: str) -> set[str]:
        """The features of a featureset whose values are given with a query, by all names that answer."""
        features = (self.featureset(name) or {}).get("features") or ()
        taken = [each for each in features if each.get("source") == "request"]
        return {name for each in taken for name in (*(each.get("former_names") or ()), each["name"])}

    def outputs(self, name: str) -> list[str] | None:
        """The fields of a derived dataset that its pipelines compute; None for any other dataset."""
        dataset = self.dataset(name)
        if dataset is None or not (dataset.get("kind") == "derived" or dataset.get("pipelines")):
            return None
        return [f["name"] for f in dataset.get("fields") or () if f.get("role") not in ("key", "timestamp")]
