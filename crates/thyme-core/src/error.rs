//! The few kinds of error a caller can act on.

use std::fmt;

/// What went wrong, in terms of what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A definition is wrong: change the Python.
    InvalidDefinition,
    /// Rows, arguments or a body are wrong: change the request.
    InvalidData,
    /// The caller may not: ask with another API key.
    Forbidden,
    /// No such dataset, featureset, feature, ...
    NotFound,
    /// It contradicts what is already there.
    Conflict,
    /// More than a limit allows.
    TooLarge,
    /// What is asked for has been removed (retention, erasure).
    Gone,
    /// The body is of a type that is not taken: send it as another.
    MediaType,
    /// The request is well-formed but cannot be done on this server.
    Unsupported,
    /// More comes in than can be done: nothing was stored; retry later.
    Overloaded,
    /// Not now: retry.
    Unavailable,
    /// A part of the state cannot be used until a restart rebuilds it; the rest goes on.
    Poisoned,
    /// No space is left: nothing was stored; retry once there is.
    StorageFull,
    /// Stored bytes are not what was written.
    Corrupt,
    /// The newest event behind a value is older than its feature allows.
    Stale,
    /// A user's extractor raised or returned something else than it declared.
    Extractor,
    /// A fault of Thyme itself.
    Internal,
}

impl ErrorKind {
    /// The stable code that answers and logs carry.
    pub const fn code(self) -> &'static str {
        match self {
            ErrorKind::InvalidDefinition => "invalid_definition",
            ErrorKind::InvalidData => "invalid_data",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::Gone => "gone",
            ErrorKind::MediaType => "unsupported_media_type",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Overloaded => "overloaded",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Poisoned => "poisoned",
            ErrorKind::StorageFull => "storage_full",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Stale => "stale",
            ErrorKind::Extractor => "extractor_failed",
            ErrorKind::Internal => "internal",
        }
    }
}

/// One fault inside a larger refusal: a row of a push, a place in a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// The row's index in the push, if the fault is a row's.
    pub row: Option<u64>,
    /// What it is about: a field, or `Class.member`.
    pub subject: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub got: String,
    /// The sentence that says it all.
    pub message: String,
    /// The user's Python file, for definitions.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
}

/// An error that reaches a caller: its kind, one sentence, and the single faults if there are several.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    detail: String,
    faults: Vec<Fault>,
}

/// The most characters of an unknown name that an error repeats.
const NAME_CHARACTERS_SHOWN: usize = 100;

/// The result of nearly everything in Thyme.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with a sentence that names the thing, what was expected, and what to do.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Error { kind, detail: detail.into(), faults: Vec::new() }
    }

    /// Attaches the single faults.
    pub fn with_faults(mut self, faults: Vec<Fault>) -> Self {
        self.faults = faults;
        self
    }

    /// What kind it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The single faults; empty unless the refusal is about several rows or places.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// An [`ErrorKind::InvalidDefinition`].
    pub fn invalid_definition(detail: impl Into<String>) -> Self {
        Error::new(ErrorKind::InvalidDefinition, detail)
    }

    /// An [`ErrorKind::InvalidData`].
    pub fn invalid_data(detail: impl Into<String>) -> Self {
        Error::new(ErrorKind::InvalidData, detail)
    }

    /// An [`ErrorKind::Internal`].
    pub fn internal(detail: impl Into<String>) -> Self {
        Error::new(ErrorKind::Internal, detail)
    }

    /// An [`ErrorKind::Corrupt`].
    pub fn corrupt(detail: impl Into<String>) -> Self {
        Error::new(ErrorKind::Corrupt, detail)
    }

    /// An [`ErrorKind::Unavailable`].
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Error::new(ErrorKind::Unavailable, detail)
    }

    /// An [`ErrorKind::NotFound`] that lists the names nearest to `name` among `known`.
    pub fn not_found<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let near = nearest(name, known);
        let hint = match near.as_slice() {
            [] => format!("no {what} is committed under a similar name"),
            names => format!("did you mean {}?", names.join(", ")),
        };
        // What is asked for may be anything; an answer must not repeat a megabyte of it.
        let shown = match name.char_indices().nth(NAME_CHARACTERS_SHOWN) {
            Some((end, _)) => format!("{}...", &name[..end]),
            None => name.to_owned(),
        };
        Error::new(ErrorKind::NotFound, format!("no {what} named \"{shown}\"; {hint}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Error {}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::internal(format!("arrow: {error}"))
    }
}

/// The names in `known` nearest to `name` by edit distance, best first, three at most.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let mut scored: Vec<(usize, &str)> = known
        .into_iter()
        .map(|k| (edit_distance(&wanted, &k.to_lowercase()), k))
        .filter(|(d, k)| *d <= 1 + k.chars().count().max(wanted.chars().count()) / 3)
        .collect();
    scored.sort();
    scored.dedup();
    scored.into_iter().take(3).map(|(_, k)| k).collect()
}

/// Levenshtein distance over characters, O(|a| |b|).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(200).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(200).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered_and_far_ones_are_not() {
        let e = Error::not_found("dataset", "Rides", ["Ride", "Weather"]);
        assert_eq!(e.to_string(), "no dataset named \"Rides\"; did you mean Ride?");
        let long = Error::not_found("dataset", &"é".repeat(1_000_000), ["Ride"]);
        assert_eq!(long.to_string().matches('é').count(), 100);
        let e = Error::not_found("dataset", "X", ["Ride"]);
        assert_eq!(e.to_string(), "no dataset named \"X\"; no dataset is committed under a similar name");
    }
}
