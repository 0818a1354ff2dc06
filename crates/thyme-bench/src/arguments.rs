//! `--name value` pairs.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::Failure;

/// The arguments of a command, by name.
pub(crate) struct Arguments(BTreeMap<String, String>);

impl Arguments {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, Failure> {
        let mut pairs = BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("expected --NAME, got \"{word}\""))?;
            let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
            pairs.insert(name.to_owned(), value);
        }
        Ok(Arguments(pairs))
    }

    pub fn optional(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn text(&self, name: &str) -> Result<&str, Failure> {
        self.optional(name).ok_or_else(|| format!("--{name} is missing").into())
    }

    pub fn number<T: FromStr>(&self, name: &str) -> Result<T, Failure> {
        let text = self.text(name)?;
        text.parse().map_err(|_| format!("--{name}: expected a number, got \"{text}\"").into())
    }

    /// The lines of the file that `name` gives the path of; at least one.
    pub fn lines(&self, name: &str) -> Result<Vec<String>, Failure> {
        let path = self.text(name)?;
        let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.is_empty() {
            return Err(format!("{path} is empty").into());
        }
        Ok(lines)
    }
}
