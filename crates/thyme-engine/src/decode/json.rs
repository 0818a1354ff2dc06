//! JSON rows: an array of objects, or one object a line.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use thyme_core::definition::Extra;
use thyme_core::error::{Fault, nearest};
use thyme_core::value::Json;
use thyme_core::{Error, Result, Schema};

use super::rows::{Cell, RowBuilder};
use super::{Decoded, ROW_FAULTS_MAX, Rejected, cut, row_fault};

/// Reads rows, each the JSON text of one object. Rows that cannot be read are `rejected`.
///
/// # Errors
/// Internal ones only.
pub fn rows<'a>(schema: &Schema, extra: Extra, rows: impl Iterator<Item = &'a [u8]>) -> Result<Decoded> {
    let mut builder = RowBuilder::new(schema);
    let mut cells = vec![Cell::Missing; schema.fields.len()];
    let mut rejected = Vec::new();
    for (row, text) in rows.enumerate() {
        if let Err(faults) = one_row(&mut builder, &mut cells, extra, row as u64, text) {
            rejected.push(Rejected { faults, raw: text.to_vec() });
        }
    }
    Ok(Decoded { batch: builder.finish()?, rejected })
}

/// Reads newline-delimited rows; empty lines are passed over.
///
/// # Errors
/// Internal ones only.
pub fn ndjson(schema: &Schema, extra: Extra, body: &[u8]) -> Result<Decoded> {
    rows(schema, extra, lines(body))
}

/// The lines of a body that are not blank, without their line ends.
pub fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty())
}

/// Reads one row's text and appends it.
///
/// # Errors
/// What is wrong with it, field by field, at most [`ROW_FAULTS_MAX`]: nothing was appended.
pub fn one_row(
    builder: &mut RowBuilder,
    cells: &mut [Cell],
    extra: Extra,
    row: u64,
    text: &[u8],
) -> Result<(), Vec<Fault>> {
    let mut read = read_cells(builder, cells, extra, text, Values::Plain);
    if read.is_err() {
        // Where only a value cannot be read, this tells which.
        read = read_cells(builder, cells, extra, text, Values::EachAlone);
    }
    let problems =
        read.map_err(|e| vec![row_fault(row, "row", "a JSON object", format!("malformed JSON ({e})"))])?;
    if problems.is_empty() {
        return builder.push(row, cells);
    }
    let mut faults: Vec<Fault> = Vec::new();
    for problem in problems {
        faults.push(match problem {
            Problem::NotAnObject(got) => return Err(vec![row_fault(row, "row", "a JSON object", got)]),
            Problem::Unknown(name) => {
                let known = nearest(&name, builder.fields().iter().map(|f| f.name.as_str()));
                let hint = match known.as_slice() {
                    [] => "a field of the dataset".to_owned(),
                    near => format!("a field of the dataset (did you mean {}?)", near.join(", ")),
                };
                row_fault(row, &name, hint, "an unknown field")
            }
            Problem::Twice(name) => row_fault(row, &name, "the field once", "it twice"),
        });
    }
    faults.extend(builder.check(row, cells));
    faults.truncate(ROW_FAULTS_MAX);
    Err(faults)
}

/// Reads a row's text into cells, one a field.
fn read_cells(
    builder: &RowBuilder,
    cells: &mut [Cell],
    extra: Extra,
    text: &[u8],
    values: Values,
) -> serde_json::Result<Vec<Problem>> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let seed = RowSeed { builder, cells, extra, values };
    let problems = seed.deserialize(&mut deserializer)?;
    deserializer.end().map(|()| problems)
}

enum Problem {
    NotAnObject(String),
    Unknown(String),
    Twice(String),
}

/// How values are read.
#[derive(Clone, Copy)]
enum Values {
    /// One after the other; the first that JSON has no value for ends it.
    Plain,
    /// Each from its own text, so that one that cannot be read is a cell like another.
    EachAlone,
}

struct RowSeed<'b> {
    builder: &'b RowBuilder,
    cells: &'b mut [Cell],
    extra: Extra,
    values: Values,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Vec<Problem>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! not_an_object {
    ($($method:ident: $type:ty => $what:literal),*) => {
        $(fn $method<E>(self, _: $type) -> Result<Self::Value, E> {
            Ok(vec![Problem::NotAnObject($what.into())])
        })*
    };
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Vec<Problem>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    not_an_object!(visit_bool: bool => "a bool", visit_i64: i64 => "a number", visit_u64: u64 => "a number",
        visit_f64: f64 => "a number", visit_str: &str => "a text");

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(vec![Problem::NotAnObject("null".into())])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(vec![Problem::NotAnObject("an array".into())])
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut problems = Vec::new();
        for cell in self.cells.iter_mut() {
            if !matches!(cell, Cell::Str(_)) {
                *cell = Cell::Missing;
            }
        }
        // A text cell keeps its buffer, so a row has to say which cells it filled.
        let mut filled = [0u64; 32];
        let fields = self.builder.fields();
        let mut guess = 0;
        while let Some(found) = map.next_key_seed(NameSeed { fields, guess })? {
            match found {
                Ok(index) => {
                    guess = index + 1;
                    let twice = filled.get_mut(index / 64).is_some_and(|word| {
                        let bit = 1 << (index % 64);
                        let was = *word & bit != 0;
                        *word |= bit;
                        was
                    });
                    if twice && problems.len() < ROW_FAULTS_MAX {
                        problems.push(Problem::Twice(fields[index].name.clone()));
                    }
                    let cell = &mut self.cells[index];
                    match self.values {
                        Values::Plain => map.next_value_seed(CellSeed(cell))?,
                        Values::EachAlone => read_alone(map.next_value()?, cell),
                    }
                }
                Err(name) => {
                    map.next_value::<IgnoredAny>()?;
                    if self.extra == Extra::Forbid && problems.len() < ROW_FAULTS_MAX {
                        problems.push(Problem::Unknown(name));
                    }
                }
            }
        }
        for (index, cell) in self.cells.iter_mut().enumerate() {
            if filled.get(index / 64).is_none_or(|word| word & (1 << (index % 64)) == 0) {
                *cell = Cell::Missing;
            }
        }
        Ok(problems)
    }
}

/// Reads a cell from the text of its value alone.
fn read_alone(value: &RawValue, cell: &mut Cell) {
    let text = value.get();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    if let Err(error) = CellSeed(cell).deserialize(&mut deserializer) {
        let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        *cell = Cell::Other(match is_number {
            true => format!("{}, which is outside float64", cut(text)),
            false => format!("a value that cannot be read ({error})"),
        });
    }
}

/// Finds a field by name; rows mostly come in the order of the schema, so that is tried first.
struct NameSeed<'f> {
    fields: &'f [thyme_core::Field],
    guess: usize,
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        if self.fields.get(self.guess).is_some_and(|f| f.name == name) {
            return Ok(Ok(self.guess));
        }
        Ok(self.fields.iter().position(|f| f.name == name).ok_or_else(|| name.to_owned()))
    }
}

struct CellSeed<'c>(&'c mut Cell);

impl<'de> DeserializeSeed<'de> for CellSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CellSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        *self.0 = Cell::Null;
        Ok(())
    }

    fn visit_bool<E>(self, v: bool) -> Result<(), E> {
        *self.0 = Cell::Bool(v);
        Ok(())
    }

    fn visit_i64<E>(self, v: i64) -> Result<(), E> {
        *self.0 = Cell::Int(v);
        Ok(())
    }

    fn visit_u64<E>(self, v: u64) -> Result<(), E> {
        *self.0 = match i64::try_from(v) {
            Ok(v) => Cell::Int(v),
            Err(_) => Cell::Other(format!("{v}, which is outside int64")),
        };
        Ok(())
    }

    fn visit_f64<E>(self, v: f64) -> Result<(), E> {
        *self.0 = Cell::Float(v);
        Ok(())
    }

    fn visit_str<E>(self, v: &str) -> Result<(), E> {
        match self.0 {
            Cell::Str(text) => {
                text.clear();
                text.push_str(v);
            }
            cell => *cell = Cell::Str(v.to_owned()),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        *self.0 = Cell::Nested(Json::Array(items));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        *self.0 = Cell::Nested(Json::object(entries));
        Ok(())
    }
}

/// One refusal for a push with invalid rows.
pub fn refusal(dataset: &str, rejected: &[Rejected]) -> Error {
    let faults = super::listed(rejected);
    let first = faults.first().map_or_else(String::new, super::with_row);
    let fields = rejected.first().map_or(0, |row| row.faults.len().saturating_sub(1));
    let more: Vec<String> = [
        (fields, if fields == 1 { "fault of this row" } else { "faults of this row" }),
        (rejected.len().saturating_sub(1), if rejected.len() == 2 { "invalid row" } else { "invalid rows" }),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} more {what}"))
    .collect();
    let more = if more.is_empty() { String::new() } else { format!(" (and {})", more.join(" and ")) };
    Error::invalid_data(format!("dataset {dataset}: {first}{more}; nothing was stored")).with_faults(faults)
}

#[cfg(test)]
mod tests {
    use super::*;
    use thyme_core::{DataType, Field, schema::Role};

    fn schema() -> Schema {
        let field = |name: &str, data_type, optional, role| Field::new(name, data_type, optional, role);
        Schema {
            fields: vec![
                field("k", DataType::Str, false, Role::Key),
                field("x", DataType::Float, true, Role::Value),
                field("at", DataType::Datetime, false, Role::Timestamp),
            ],
        }
    }

    fn faults(lines: &str) -> Vec<String> {
        let decoded = ndjson(&schema(), Extra::Forbid, lines.as_bytes()).unwrap();
        decoded.rejected.iter().map(Rejected::reason).collect()
    }

    #[test]
    fn rows_in_any_order_become_columns() {
        let body = "{\"k\":\"a\",\"x\":1.5,\"at\":0}\n\n{\"at\":\"1970-01-01T00:00:01Z\",\"k\":\"b\"}\r\n{\"k\":\"c\",\"at\":2,\"x\":\"NaN\"}";
        let decoded = ndjson(&schema(), Extra::Forbid, body.as_bytes()).unwrap();
        assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        assert_eq!(decoded.batch.num_rows(), 3);
        assert_eq!(decoded.batch.column(1).null_count(), 1);
    }

    #[test]
    fn each_bad_row_is_named() {
        let cases = [
            ("{\"k\":1,\"at\":0}", "k: expected str, got int 1"),
            ("{\"at\":0}", "k: expected str, got nothing (the field is missing)"),
            ("{\"k\":\"a\",\"x\":true,\"at\":0}", "x: expected float or null, got bool true"),
            (
                "{\"k\":\"a\",\"y\":1,\"at\":0}",
                "y: expected a field of the dataset (did you mean k, x?), got an unknown field",
            ),
            (
                "{\"k\":\"a\",\"at\":\"soon\"}",
                "at: expected datetime (ISO 8601, or seconds since the epoch), got str \"soon\"",
            ),
            ("[1]", "row: expected a JSON object, got an array"),
            ("{\"k\":\"a\",\"k\":\"b\",\"at\":0}", "k: expected the field once, got it twice"),
            ("{\"k\":{\"a\":1},\"at\":0}", "k: expected str, got an object"),
            (
                "{\"k\":\"a\",\"x\":-1e400,\"at\":0}",
                "x: expected float or null, got -1e400, which is outside float64",
            ),
            (
                "{\"z\":1,\"k\":null,\"x\":1e999,\"y\":[2e400],\"at\":null,\"k\":7}",
                "z: expected a field of the dataset (did you mean k, x?), got an unknown field; \
                 y: expected a field of the dataset (did you mean k, x?), got an unknown field; \
                 k: expected the field once, got it twice; k: expected str, got int 7; \
                 x: expected float or null, got 1e999, which is outside float64; at: expected datetime, got null",
            ),
        ];
        for (line, message) in cases {
            assert_eq!(faults(line), [message], "{line}");
        }
        assert!(faults("{\"k\":\"a\",\"at\":1773568800000}")[0].contains("milliseconds"));
        assert!(faults("{\"k\":\"a\",")[0].contains("malformed JSON"));
    }

    #[test]
    fn of_a_row_with_very_many_faults_the_first_are_told() {
        let unknown: Vec<String> = (0..500).map(|i| format!("\"field{i}\":{i}")).collect();
        let row = format!("{{{}}}", unknown.join(","));
        let decoded = ndjson(&schema(), Extra::Forbid, format!("{row}\n{row}\n").as_bytes()).unwrap();
        let counts: Vec<usize> = decoded.rejected.iter().map(|row| row.faults.len()).collect();
        assert_eq!(counts, [ROW_FAULTS_MAX, ROW_FAULTS_MAX]);
        let error = refusal("D", &decoded.rejected);
        assert_eq!(error.faults().len(), 2 * ROW_FAULTS_MAX);
        let told = "got an unknown field (and 19 more faults of this row and 1 more invalid row); nothing was stored";
        assert!(error.detail().ends_with(told), "{error}");
    }

    #[test]
    fn a_text_of_the_row_before_does_not_leak_into_a_missing_field() {
        let body = "{\"k\":\"a\",\"at\":0}\n{\"at\":0}";
        assert_eq!(faults(body).len(), 1);
    }
}
