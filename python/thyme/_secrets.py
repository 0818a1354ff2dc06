"""Looks for secrets in what a commit would send, before it is sent.

Commits are kept for good, and shown to whoever reads the history. Nothing here ever gives back a secret.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from thyme._syntax import parse
from thyme.errors import Fault, definition_error

ALLOW = "thyme: allow-secret"
"""In a comment on a line: what is in it may travel."""

# What each begins with is nobody's word, and what follows is as long as the issuer makes it.
_FORMATS = {
    "an AWS access key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "a Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{20,}",
    "a Stripe key": r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
    "a Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "a SendGrid key": r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    "an npm token": r"\bnpm_[A-Za-z0-9]{36}",
    "a PyPI token": r"\bpypi-[A-Za-z0-9_-]{50,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "an OpenAI or Anthropic key": r"\bsk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]*[A-Za-z0-9]{20,}",
    "a signed token (JWT)": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "a Thyme API key": r"\bthyme_[0-9a-f]{8}_[0-9a-f]{64}\b",
    "a private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
}
_KNOWN = [(what, re.compile(pattern)) for what, pattern in _FORMATS.items()]
_URL = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@\"'`]*:([^\s/@\"'`]+)@")
# As connection strings have it: host=db password=...
_SETTING = re.compile(r"(?i)\b(?:password|passwd|pwd)=([^\s\"'&;,)]+)")
_PASSWORD = re.compile(r"(?i)(?:^|_)(?:password|passwd|passphrase|pwd)$")
_KEY = re.compile(
    r"(?i)(?:^|_)(?:secret|token|credential|credentials|api_?key|access_?key|secret_?key|private_?key|auth_?key)$"
)
_PLACEHOLDER = re.compile(
    r"(?i)[<>{}$%\s]|^(?:user|pass(?:word)?|pw|pwd|secret|none)$|\*\*|x{4}|\.\.\.|your|example|placeholder|redacted|dummy|change_?me"
)
_SECRET_MIN = 8


@dataclass(frozen=True)
class Found:
    """A place that looks as if it held a secret.

    Attributes:
        line: From 1.
        what: What it looks like.
    """

    line: int
    what: str


def refuse_secrets(document: Mapping[str, Any], files: Mapping[str, str], *, travel: bool) -> None:
    """Refuses a commit that would keep a secret.

    Args:
        document: The definitions.
        files: The Python files that they are in, by name.
        travel: Whether those go with the commit.

    Raises:
        DefinitionValueError: With one fault for each place.
    """
    faults = [*(_of_files(files) if travel else ()), *_of_extractors(document, files), *_of_options(document)]
    if faults:
        raise definition_error(list(dict.fromkeys(faults)))


def _of_files(files: Mapping[str, str]) -> Iterator[Fault]:
    for file, text in files.items():
        for found in secrets_in(text):
            message = (
                f"this looks like {found.what}, and a commit keeps its Python files for everybody who reads "
                "the history; read it from the environment where it is used, commit with --no-source "
                f"(source=False), or write `# {ALLOW}` on the line if it is none"
            )
            yield Fault(message, file=file, line=found.line)


def _of_extractors(document: Mapping[str, Any], files: Mapping[str, str]) -> Iterator[Fault]:
    allowed = {text for file in files.values() for text in _texts_allowed(file)}
    for featureset in document.get("featuresets") or ():
        for extractor in featureset.get("extractors") or ():
            for found in secrets_in(extractor.get("code") or "", allowed):
                subject = f"{featureset.get('name')}.{extractor.get('name')}"
                message = (
                    f"it takes along what looks like {found.what}, and an extractor is kept with the commit "
                    f"as a text; read it in the extractor's body, with os.environ, or write `# {ALLOW}` on "
                    "the line in its file if it is none"
                )
                yield _fault(message, subject, extractor.get("at"))


def _of_options(document: Mapping[str, Any]) -> Iterator[Fault]:
    for dataset in document.get("datasets") or ():
        options = (dataset.get("source") or {}).get("options") or {}
        for name, value in options.items():
            what = _named(name, str(value)) or next((found.what for found in _in_text(str(value), 1)), None)
            if what is not None:
                message = (
                    f"the option `{name}` of its source holds what looks like {what}, and options are kept "
                    "with the commit and shown; let the server have it, not the definition"
                )
                yield _fault(message, str(dataset.get("name") or ""), dataset.get("at"))


def _fault(message: str, subject: str, at: Any) -> Fault:
    place = at or {}
    return Fault(message, subject, file=place.get("file") or "", line=place.get("line") or 0)


def _texts_allowed(text: str) -> Iterator[str]:
    """The texts on lines of a file that are said to be no secrets."""
    lines = text.splitlines()
    if ALLOW in text:
        for node in _nodes(text):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
                if ALLOW in lines[node.lineno - 1]:
                    yield node.value


def secrets_in(text: str, allowed: Collection[str] = ()) -> Iterator[Found]:
    """The places of a Python text that look as if they held secrets, by line.

    Args:
        text: The text; what is not Python is looked through as well.
        allowed: Lines with one of these in them may travel.
    """
    lines = text.splitlines()
    seen: dict[int, Found] = {}
    in_lines = (found for number, line in enumerate(lines, 1) for found in _in_line(line, number))
    for found in (*in_lines, *_in_tree(text)):
        seen.setdefault(found.line, found)
    for number in sorted(seen):
        line = lines[number - 1] if number <= len(lines) else ""
        if ALLOW not in line and not any(one in line for one in allowed):
            yield seen[number]


def _in_line(line: str, number: int) -> Iterator[Found]:
    """What is recognised by itself, in comments too."""
    for what, pattern in _KNOWN:
        if pattern.search(line):
            yield Found(number, what)
    for match in _URL.finditer(line):
        if not _PLACEHOLDER.search(match[1]):
            yield Found(number, "a URL with a password")


def _in_text(value: str, line: int) -> Iterator[Found]:
    """What is recognised in a text."""
    for offset, part in enumerate(value.splitlines()):
        yield from _in_line(part, line + offset)
        for match in _SETTING.finditer(part):
            if not _PLACEHOLDER.search(match[1]):
                yield Found(line + offset, "a password")


def _in_tree(text: str) -> Iterator[Found]:
    """Texts that are given to names such as `password`, and connection strings."""
    for node in _nodes(text):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _in_text(node.value, node.lineno)
        for name, value in _given(node):
            if isinstance(value, ast.Constant) and isinstance(value.value, (str, bytes)):
                given = value.value if isinstance(value.value, str) else value.value.decode("latin-1")
                what = _named(name, given)
                if what is not None:
                    yield Found(value.lineno, what)


def _nodes(text: str) -> Iterator[ast.AST]:
    try:
        return ast.walk(parse(text))
    except (SyntaxError, ValueError, RecursionError):
        return iter(())


def _given(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The names that a node gives values to."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield getattr(target, "id", getattr(target, "attr", "")), node.value
            if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                yield str(target.slice.value), node.value
    elif isinstance(node, ast.keyword) and node.arg is not None:
        yield node.arg, node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant):
                yield str(key.value), value


def _named(name: str, value: str) -> str | None:
    """What a value is by its name and its look; None if it looks like no secret."""
    if len(value) < _SECRET_MIN or _PLACEHOLDER.search(value):
        return None
    if _PASSWORD.search(name):
        return "a password"
    # `token="access_token"` names a field, and no token is made of words alone.
    if _KEY.search(name) and re.search(r"[0-9]", value) and re.search(r"[A-Za-z]", value):
        return "a secret"
    return None
