"""What can go wrong, by what the caller can do about it.

Every error that leaves the client is a `ThymeError`. The server names the kind by a stable code
(`docs/http.md`); each code has one class here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


class ThymeError(Exception):
    """An error of Thyme: one sentence, and the single faults if there are several.

    Attributes:
        code: The stable code, such as `"invalid_data"`.
        detail: The sentence.
        faults: One dict a fault, with those of `row, subject, expected, got, message, file, line` that apply.
        status: The HTTP status, or None if no server answered.
    """

    default_code = "error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        faults: Sequence[Mapping[str, Any]] = (),
        status: int | None = None,
    ) -> None:
        self.detail = detail
        self.code = code or self.default_code
        self.faults = [dict(fault) for fault in faults]
        self.status = status
        super().__init__(detail)

    def __str__(self) -> str:
        """The sentence, then a line for each of the first faults."""
        return "\n".join([self.detail, *fault_lines(self)])


FAULTS_SHOWN = 20


class InvalidDataError(ThymeError, ValueError):
    """Rows, arguments or a body are wrong: change the request."""

    default_code = "invalid_data"


class InvalidDefinitionError(ThymeError, ValueError):
    """A definition is wrong: change the Python."""

    default_code = "invalid_definition"


class UnauthorizedError(ThymeError):
    """The API key is missing or unknown."""

    default_code = "unauthorized"


class ForbiddenError(ThymeError):
    """The API key may not do this."""

    default_code = "forbidden"


class NotFoundError(ThymeError):
    """No such dataset, featureset, feature, ..."""

    default_code = "not_found"


class ConflictError(ThymeError):
    """It contradicts what is already there."""

    default_code = "conflict"


class GoneError(ThymeError):
    """What is asked for has been removed (retention, erasure)."""

    default_code = "gone"


class TooLargeError(ThymeError):
    """More than a limit allows."""

    default_code = "too_large"


class UnsupportedError(ThymeError):
    """The request is well-formed but cannot be done on this server."""

    default_code = "unsupported"


class StaleError(ThymeError):
    """The newest event behind a value is older than its feature allows, which says `on_stale="error"`."""

    default_code = "stale"


class ExtractorError(ThymeError):
    """A user's extractor raised, or returned something else than it declared."""

    default_code = "extractor_failed"


class UnavailableError(ThymeError):
    """Not now: retry."""

    default_code = "unavailable"


class OverloadedError(UnavailableError):
    """More comes in than the server can take: nothing was stored; send it again later."""

    default_code = "overloaded"


class RateLimitedError(UnavailableError):
    """The API key asks more often than it may: nothing was done; send it again later."""

    default_code = "rate_limited"


class PoisonedError(UnavailableError):
    """A part of the server's state cannot be used until a restart rebuilds it; the rest goes on."""

    default_code = "poisoned"


class StorageFullError(UnavailableError):
    """No space is left on the server: nothing was stored."""

    default_code = "storage_full"


class InternalError(ThymeError):
    """A fault of Thyme itself."""

    default_code = "internal"


class CorruptError(InternalError):
    """Stored bytes are not what was written."""

    default_code = "corrupt"


class ConnectionFailed(ThymeError, ConnectionError):
    """No answer came from the server."""

    default_code = "connection_failed"


class ConfigError(ThymeError, ValueError):
    """A setting, or a file of settings, is wrong."""

    default_code = "invalid_config"


_BY_CODE: dict[str, type[ThymeError]] = {
    kind.default_code: kind
    for kind in (
        InvalidDataError,
        InvalidDefinitionError,
        UnauthorizedError,
        ForbiddenError,
        NotFoundError,
        ConflictError,
        GoneError,
        TooLargeError,
        UnsupportedError,
        ExtractorError,
        StaleError,
        UnavailableError,
        OverloadedError,
        RateLimitedError,
        PoisonedError,
        StorageFullError,
        InternalError,
        CorruptError,
    )
}

_BY_STATUS: dict[int, type[ThymeError]] = {
    400: InvalidDataError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: UnsupportedError,
    409: ConflictError,
    410: GoneError,
    413: TooLargeError,
    415: UnsupportedError,
    422: UnsupportedError,
    408: UnavailableError,
    429: OverloadedError,
    501: UnsupportedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
    507: StorageFullError,
}


def error_from_answer(status: int, body: bytes, origin: str) -> ThymeError:
    """The error that an answer other than 2xx stands for.

    Args:
        status: The HTTP status.
        body: The answer's body: the server's JSON, or whatever a proxy in between wrote.
        origin: The server's base URL, for answers that say nothing themselves.
    """
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        answer = {}
    code = answer.get("error")
    detail = answer.get("detail")
    if not isinstance(detail, str) or not detail:
        if answer.get("status"):  # /health while it is not ready
            detail = ": ".join(str(answer[k]) for k in ("status", "detail") if answer.get(k))
        else:
            detail = f"{origin} answered with HTTP status {status} and no explanation; is it a Thyme server?"
    kind = _BY_CODE.get(code) if isinstance(code, str) else None
    kind = kind or _BY_STATUS.get(status) or (InternalError if status >= 500 else ThymeError)
    faults = [fault for fault in answer.get("faults") or () if isinstance(fault, dict)]
    return kind(detail, code=code if isinstance(code, str) else None, faults=faults, status=status)


def fault_lines(error: ThymeError) -> list[str]:
    """An indented line for each fault, of many the first.

    Of faults that the sentence tells already it is where they are; none if that is unknown or told, too.
    """
    detail = error.detail
    if all(str(fault.get("message")) in detail for fault in error.faults):
        placed = [fault for fault in error.faults if _place(fault) and _place(fault) not in detail]
        texts = [f"{_place(fault)}{_expected(fault)}" for fault in placed]
    else:
        texts = [fault_text(fault) for fault in error.faults]
    lines = [f"  {text}" for text in texts[:FAULTS_SHOWN]]
    if len(texts) > FAULTS_SHOWN:
        lines.append(f"  ... and {len(texts) - FAULTS_SHOWN:,} more")
    return lines


def fault_text(fault: Mapping[str, Any]) -> str:
    """One line for a fault: where it is, then its sentence."""
    where = [_place(fault)] if fault.get("file") else []
    if fault.get("row") is not None:
        where.append(f"row {fault['row']}")
    message = fault.get("message")
    if not message:
        message = f"expected {fault.get('expected')}, got {fault.get('got')}"
        if fault.get("subject"):
            message = f"{fault['subject']}: {message}"
    return ": ".join([*where, str(message)])


def _place(fault: Mapping[str, Any]) -> str:
    """The file and line to change, if a fault has them."""
    file, line = fault.get("file"), fault.get("line")
    return f"{file}:{line}" if file and line else str(file or "")


def _expected(fault: Mapping[str, Any]) -> str:
    if fault.get("expected") is None or fault.get("got") is None:
        return ""
    return f": expected {fault['expected']}, got {fault['got']}"
