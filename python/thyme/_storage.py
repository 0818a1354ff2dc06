"""Files by path, pattern or URL: on this machine, or on an object store."""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from thyme._errors import InvalidDataError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SECRET_OPTION = re.compile(r"key|token|secret|password|sig|credential", re.IGNORECASE)
_COPIED_BYTES = 1 << 20


@dataclass(frozen=True)
class Place:
    """Where one file is.

    Attributes:
        text: The path or the URL, as people write it, without credentials.
        path: The path on this machine, or within `filesystem`.
        filesystem: The object store; None on this machine.
    """

    text: str
    path: str
    filesystem: Any = None

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine."""
        return self.filesystem is None

    @property
    def suffix(self) -> str:
        """The suffix of its name, in lower case."""
        return PurePosixPath(self.path).suffix.lower()

    @contextmanager
    def open(self) -> Iterator[Any]:
        """The file for random access, as Arrow reads files.

        Raises:
            InvalidDataError: It cannot be opened.
        """
        import pyarrow as pa

        try:
            file = (
                pa.OSFile(self.path)
                if self.filesystem is None
                else self.filesystem.open_input_file(self.path)
            )
        except OSError as error:
            raise InvalidDataError(f'cannot read "{self.text}": {_reason(error)}') from None
        with file:
            yield file

    @contextmanager
    def here(self) -> Iterator[str]:
        """The path of the file on this machine; one of an object store is copied to a temporary file.

        Raises:
            InvalidDataError: It cannot be read.
        """
        if self.is_local:
            try:
                with open(self.path, "rb"):
                    pass
            except OSError as error:
                raise InvalidDataError(f'cannot read "{self.text}": {_reason(error)}') from None
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="thyme-") as folder:
            copy = Path(folder) / ("copy" + self.suffix)
            with self.open() as source, open(copy, "wb") as sink:
                shutil.copyfileobj(source, sink, _COPIED_BYTES)
            yield str(copy)

    def put(self, draft: Path) -> None:
        """Makes a finished file of this machine the one here, all at once.

        Raises:
            InvalidDataError: It cannot be written.
        """
        try:
            if self.filesystem is None:
                os.replace(draft, self.path)
                return
            with open(draft, "rb") as source, self.filesystem.open_output_stream(self.path) as sink:
                shutil.copyfileobj(source, sink, _COPIED_BYTES)
            draft.unlink()
        except OSError as error:
            raise InvalidDataError(f'cannot write "{self.text}": {_reason(error)}') from None

    def beside(self, suffix: str) -> Place:
        """The place of a file with this added to the name."""
        head, query, tail = self.text.partition("?") if self.filesystem is not None else (self.text, "", "")
        return Place(head + suffix + query + tail, self.path + suffix, self.filesystem)

    def sha256(self) -> str:
        """The hash of the file's bytes."""
        digest = hashlib.sha256()
        with self.open() as file:
            while block := file.read(_COPIED_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def read(self) -> bytes:
        """All of its bytes."""
        with self.open() as file:
            return bytes(file.read())


def place(given: str | Path) -> Place:
    """One file, by its path or URL.

    Raises:
        InvalidDataError: A URL of a kind that is not known.
    """
    text = os.fspath(given)
    if not _URL.match(text):
        return Place(text, text)
    filesystem, path = _filesystem(text)
    return Place(_without_secret(text), path, filesystem)


def places(given: str | Path) -> list[Place]:
    """The files that a path, a pattern (`labels/*.parquet`) or a URL names, in the order of their names.

    Raises:
        InvalidDataError: None matches, it is a directory, or a URL of a kind that is not known.
    """
    text = os.fspath(given)
    if _URL.match(text):
        found = _remote_matches(text)
    elif glob.has_magic(text) and not os.path.exists(text):
        matches = sorted(path for path in glob.glob(text, recursive=True) if os.path.isfile(path))
        found = [Place(path, path) for path in matches]
    elif os.path.isdir(text):
        raise InvalidDataError(f'"{text}" is a directory; name its files, such as "{text}/*.parquet"')
    else:
        found = [Place(text, text)]
    if not found:
        raise InvalidDataError(f'no file is called "{text}"')
    return found


def is_files(data: Any) -> bool:
    """Whether this names files: a path, a pattern, a URL, or several of them."""
    if isinstance(data, (list, tuple)):
        return bool(data) and all(isinstance(each, (str, Path)) for each in data)
    return isinstance(data, (str, Path))


def _remote_matches(text: str) -> list[Place]:
    pattern, query, options = text.partition("?")
    if not ("*" in pattern or "[" in pattern):
        return [place(text)]
    import pyarrow.fs as fs

    folder = re.split(r"[*\[]", pattern)[0].rpartition("/")[0]
    filesystem, base = _filesystem(folder + query + options)
    wanted = base + pattern[len(folder) :]
    try:
        listed = filesystem.get_file_info(fs.FileSelector(base, recursive=True))
    except OSError as error:
        raise InvalidDataError(f'cannot list "{folder}": {_reason(error)}') from None
    paths = sorted(info.path for info in listed if info.is_file and _matches(info.path, wanted))
    return [
        Place(_without_secret(folder + path[len(base) :] + query + options), path, filesystem)
        for path in paths
    ]


def _matches(path: str, pattern: str) -> bool:
    """Whether a path fits a pattern, where `*` stays within one folder and `**` does not."""
    ours, theirs = path.split("/"), pattern.split("/")
    if "**" in theirs:
        i = theirs.index("**")
        head, tail = theirs[:i], theirs[i + 1 :]
        return (
            len(ours) >= len(head) + len(tail)
            and _fits(ours[: len(head)], head)
            and any(
                _matches("/".join(ours[start:]), "/".join(tail))
                for start in range(len(head), len(ours) - len(tail) + 1)
            )
        )
    return _fits(ours, theirs)


def _fits(names: list[str], patterns: list[str]) -> bool:
    return len(names) == len(patterns) and all(map(fnmatch.fnmatchcase, names, patterns))


def _filesystem(url: str) -> tuple[Any, str]:
    import pyarrow as pa
    import pyarrow.fs as fs

    try:
        return fs.FileSystem.from_uri(url)  # type: ignore[no-any-return]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, ValueError) as error:
        raise InvalidDataError(f'cannot use "{_without_secret(url)}": {_reason(error)}') from None


def _without_secret(url: str) -> str:
    """A URL as it may be shown and kept: without credentials, which the environment gives as well."""
    scheme, _, rest = url.partition("://")
    path, _, options = rest.partition("?")
    plain = f"{scheme}://{path.rpartition('@')[2]}"
    kept = [each for each in options.split("&") if each and not _SECRET_OPTION.search(each.partition("=")[0])]
    return f"{plain}?{'&'.join(kept)}" if kept else plain


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())
