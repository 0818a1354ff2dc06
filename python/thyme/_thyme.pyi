"""The native module: the engine, built from `python/native`."""

def version() -> str:
    """The version this was built as."""

def validate(document: str, known: str) -> str:
    """What is wrong with a definition document.

    Args:
        document: The document as JSON (`docs/definitions.md`).
        known: A document, as JSON, of the definitions it may refer to besides its own; those are not judged.

    Returns:
        A JSON list of faults `{"subject", "expected", "got", "message", "file", "line", "kind"}`, `kind`
        being `"type"` or `"value"`; empty if the document is valid.

    Raises:
        ValueError: It is not a definition document at all.
    """

def parse_duration(text: str) -> int:
    """A duration such as `"90s"`, `"24h"` or `"7d"` in microseconds.

    Raises:
        ValueError: It is no duration; the sentence says what is.
    """

def parse_window(json: str) -> tuple[str, str, int | None]:
    """A window as a document has it in its shortest form, as it is written, and how far it reaches back.

    That is in microseconds, at most; None is without end.

    Raises:
        ValueError: It is no window; the sentence says what is.
    """

class LookupContext:
    """What lookups of one run of extractors read: the query's own snapshot."""

    def at_row(self, row: int) -> None:
        """Lookups are from now on for this row of the call: as served, each row has a position of its own."""

    def lookup(self, dataset: str, time_us: int, key: dict[str, object]) -> dict[str, object]:
        """The row of `dataset` as of `time_us`: every field by name, datetimes aware and in UTC.

        Raises:
            ValueError: The key does not fit, or a raw dataset has no index.
        """

    def lookup_many(self, dataset: str, wanted: bytes) -> bytes:
        """The rows of `dataset` for as many rows of the call, from the one that lookups are for.

        Args:
            dataset: Its name.
            wanted: An Arrow stream: the times in a column without name, and one for each key field.

        Returns:
            An Arrow stream with every field.

        Raises:
            ValueError: A key does not fit, or a raw dataset has no index.
        """

class Engine:
    """An engine in this process."""

    def __init__(self, options: str, host: object) -> None:
        """Opens it: options as JSON, and a `thyme._host.Host` that runs extractors."""

    def request(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Answers one request as the server would: status, headers, body."""

    def set_now(self, now_us: int | None) -> None:
        """Fixes the clock, in microseconds since the epoch; None lets it go again."""

    def close(self) -> None:
        """Stops it."""

class Attachment:
    """A log in the making, of rows that a server gave."""

    def __init__(self, commit: str, document: str) -> None:
        """Under definitions, as JSON, that are committed as `commit`."""

    def add(self, dataset: str, page: bytes) -> int:
        """Adds a page of rows of a dataset; gives how many rows there are by now."""

    def rows_begin(self, dataset: str, after: int) -> None:
        """There are rows of a dataset after this event time (µs) only."""

    def log_begins(self, stamp: int) -> None:
        """What was known before this stamp (µs) is not known."""

    def open(self, until: str, stamp: int, options: str, host: object) -> Engine:
        """Opens an engine over them, as of the position `until`, which was written at `stamp`."""

def run_program(
    program: str, types: list[str], times_us: list[int], inputs: list[list[object]]
) -> list[tuple[object, ...] | None]:
    """Runs a translated extractor over rows, without an engine, and without lookups.

    Args:
        program: From `thyme._compiled`.
        types: The type of each input: `int`, `float`, `str`, `bool` or `datetime`.
        times_us: The time of each row, in microseconds since the epoch.
        inputs: One list for each input, as long as `times_us`.

    Returns:
        The outputs of each row; None where they are left to CPython.

    Raises:
        RuntimeError: It is no program.
        ValueError: An input is no value.
    """

def run_program_in_columns(
    program: str, declared: list[str], types: list[str], times_us: list[int], inputs: list[list[object]]
) -> list[tuple[object, ...] | None] | None:
    """Runs a translated extractor over rows all at once, as `run_program` does one by one.

    Args:
        program: From `thyme._compiled`.
        declared: The type of each output.
        types: The type of each input.
        times_us: The time of each row, in microseconds since the epoch.
        inputs: One list for each input, as long as `times_us`.

    Returns:
        The outputs of each row, as wide as they are declared; None where one by one may give more. None for
        all if an output is of another type than is declared.

    Raises:
        RuntimeError: It is no program.
        ValueError: An input is no value.
    """

def serve(options: str, host: object) -> None:
    """Runs the server until it is told to stop."""

def backup(data: str, directory: str, watch: object | None = None) -> str:
    """Backs up a data directory that no process uses; JSON.

    Args:
        data: The data directory.
        directory: Where the backup goes.
        watch: Called with the bytes done and in all.

    Raises:
        RuntimeError: It cannot be made; the sentence says why.
    """

def restore(directory: str, data: str, watch: object | None = None) -> str:
    """Makes a new data directory of a backup; JSON. Arguments and errors as `backup`."""

def doctor(data: str, deep: bool, watch: object | None = None) -> str:
    """What is intact and what is not in a data directory or a backup; JSON. Errors as `backup`."""

def create_key(data: str, body: str) -> str:
    """Makes an API key of a data directory that no process uses; JSON in and out as `POST /api/v1/keys`."""

def revoke_key(data: str, id: str) -> str:
    """Revokes an API key of a data directory that no process uses; JSON."""

def list_keys(data: str) -> str:
    """The API keys of a data directory that no process uses; JSON."""

def set_store_aside(data: str) -> str:
    """Gives a damaged store another name and returns it. Errors as `backup`."""
