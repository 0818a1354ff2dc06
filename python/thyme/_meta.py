"""The catalog keywords that every decorator takes; they never change a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from thyme._literal import described
from thyme._place import refuse, warn_unknown


class CatalogKeywords(TypedDict, total=False):
    """What a catalog says about a definition.

    Attributes:
        description: What it is.
        owner: Who answers for it.
        tags: A list of tags, or a dict of tags with texts.
        project: The project it belongs to.
        deprecated: Whether it should no longer be used.
        deprecation_reason: Why not.
        replacement: What to use instead.
    """

    description: str | None
    owner: str | None
    tags: Iterable[str] | Mapping[str, str] | None
    project: str | None
    deprecated: bool
    deprecation_reason: str | None
    replacement: str | None


_TEXTS = ("description", "owner", "project", "deprecation_reason", "replacement")


def meta(what: str, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The catalog keywords as a definition document has them; unknown ones warn.

    Args:
        what: The decorator, for errors: `@dataset`.
        keywords: The keywords it was given and does not know itself.

    Raises:
        DefinitionTypeError: A keyword has a value of the wrong type.
    """
    warn_unknown(what, [keyword for keyword in keywords if keyword not in CatalogKeywords.__annotations__])
    document: dict[str, Any] = {}
    for keyword in _TEXTS:
        value = keywords.get(keyword)
        if value is None:
            continue
        if not isinstance(value, str):
            refuse(f"{what}: {keyword}= takes a text, got {described(value)}")
        document[keyword] = value
    tags = _tags(what, keywords.get("tags"))
    if tags:
        document["tags"] = tags
    deprecated = keywords.get("deprecated", False)
    if not isinstance(deprecated, bool):
        refuse(f"{what}: deprecated= takes True or False, got {described(deprecated)}")
    if deprecated:
        document["deprecated"] = True
    return document


def _tags(what: str, tags: Any) -> dict[str, str]:
    if tags is None:
        return {}
    if isinstance(tags, Mapping):
        pairs = list(tags.items())
    elif isinstance(tags, (list, tuple, set, frozenset)):
        pairs = [(tag, "") for tag in tags]
    else:
        refuse(f"{what}: tags= takes a list of texts or a dict of texts, got {described(tags)}")
    for name, value in pairs:
        if not isinstance(name, str) or not isinstance(value, str):
            wrong = value if isinstance(name, str) else name
            refuse(f"{what}: tags= takes a list of texts or a dict of texts, got one with {described(wrong)}")
    return dict(sorted(pairs))
