//! Rules of rows, compiled for a schema.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use regex::Regex;

use super::{Expectation, Kind, StreamRule, Tally};
use crate::error::{Error, Result};
use crate::expr::LiteralValue;
use crate::schema::Schema;
use crate::time::parse_timestamp;
use crate::value::{DataType, Value};

/// The longest pattern.
pub const PATTERN_BYTES_MAX: usize = 4096;
/// How large a compiled pattern may be.
const PATTERN_SIZE: usize = 1 << 20;

/// An expectation, ready to judge.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it is compiled from.
    pub expectation: Expectation,
    column: Option<(usize, DataType)>,
    check: Check,
}

#[derive(Clone, Debug)]
enum Check {
    Between(Option<Value>, Option<Value>),
    NotNull,
    Ints(HashSet<i64>),
    /// By bits.
    Floats(HashSet<u64>),
    Texts(HashSet<Box<str>>),
    Bools([bool; 2]),
    OfType(DataType),
    Matches(Regex),
    Stream,
}

impl Rule {
    /// Compiles an expectation for rows of this schema.
    ///
    /// # Errors
    /// What does not fit the schema; the sentence says what would.
    pub fn new(expectation: &Expectation, schema: &Schema) -> Result<Rule> {
        let wrong = |sentence: String| Error::invalid_definition(format!("{}: {sentence}", expectation.kind));
        let column = match expectation.kind.column() {
            None => None,
            Some(name) => {
                Some(schema.fields.iter().enumerate().find(|(_, f)| f.name == name).ok_or_else(|| {
                    let names: Vec<&str> = schema.fields.iter().map(|f| f.name.as_str()).collect();
                    wrong(format!("there is no field {name}; there are {}", names.join(", ")))
                })?)
            }
        };
        if !(expectation.mostly > 0.0 && expectation.mostly <= 1.0) {
            return Err(wrong(format!("mostly is above 0 and at most 1, got {}", expectation.mostly)));
        }
        let column = column.map(|(index, field)| (index, field.data_type));
        let check = check(&expectation.kind, column.map(|(_, data_type)| data_type))
            .map_err(|e| wrong(e.detail().to_owned()))?;
        Ok(Rule { expectation: expectation.clone(), column, check })
    }

    /// What it judges by rows that came before; `None` if it judges each by itself.
    pub fn stream(&self) -> Option<StreamRule> {
        StreamRule::of(&self.expectation.kind, self.column.map(|(index, _)| index))
    }

    /// How many of the rows, or of those of them that are `kept`, it judges, and by index those that break it.
    /// Nothing for a rule of the stream.
    pub fn broken(&self, batch: &RecordBatch, kept: Option<&BooleanBuffer>) -> (Tally, Vec<u32>) {
        let Some(column) = self.column.and_then(|(index, _)| batch.columns().get(index)) else {
            return (Tally::default(), Vec::new());
        };
        let is_kept = |row: usize| kept.is_none_or(|kept| kept.value(row));
        let rows = (0..column.len()).filter(|row| is_kept(*row));
        let judged: Vec<usize> = match self.check {
            Check::Stream => Vec::new(),
            Check::NotNull => rows.collect(),
            _ => rows.filter(|row| column.is_valid(*row)).collect(),
        };
        let mut broken = Vec::new();
        self.judge(column, &judged, &mut broken);
        let tally = Tally { checked: judged.len() as u64, violated: broken.len() as u64 };
        (tally, broken)
    }

    fn judge(&self, column: &ArrayRef, rows: &[usize], broken: &mut Vec<u32>) {
        let mut take = |holds: &dyn Fn(usize) -> bool| {
            broken.extend(rows.iter().filter(|row| !holds(**row)).map(|row| *row as u32));
        };
        match &self.check {
            Check::Stream => {}
            Check::NotNull => take(&|row| column.is_valid(row)),
            Check::Between(min, max) => match column.data_type() {
                arrow::datatypes::DataType::Int64 => {
                    let (values, min, max) = (column.as_primitive::<Int64Type>(), int(min), int(max));
                    take(&|row| inside(&values.value(row), min.as_ref(), max.as_ref()));
                }
                arrow::datatypes::DataType::Float64 => {
                    let (values, min, max) = (column.as_primitive::<Float64Type>(), float(min), float(max));
                    take(&|row| inside(&values.value(row), min.as_ref(), max.as_ref()));
                }
                arrow::datatypes::DataType::Timestamp(..) => {
                    let (values, min, max) =
                        (column.as_primitive::<TimestampMicrosecondType>(), int(min), int(max));
                    take(&|row| inside(&values.value(row), min.as_ref(), max.as_ref()));
                }
                _ => {
                    let (values, min, max) = (column.as_string::<i32>(), text(min), text(max));
                    take(&|row| inside(&values.value(row), min.as_ref(), max.as_ref()));
                }
            },
            Check::Ints(set) => match column.as_primitive_opt::<Int64Type>() {
                Some(values) => take(&|row| set.contains(&values.value(row))),
                None => {
                    let values = column.as_primitive::<TimestampMicrosecondType>();
                    take(&|row| set.contains(&values.value(row)));
                }
            },
            Check::Floats(set) => {
                let values = column.as_primitive::<Float64Type>();
                take(&|row| set.contains(&values.value(row).to_bits()));
            }
            Check::Texts(set) => {
                let values = column.as_string::<i32>();
                take(&|row| set.contains(values.value(row)));
            }
            Check::Bools(set) => {
                let values = column.as_boolean();
                take(&|row| set[usize::from(values.value(row))]);
            }
            Check::OfType(data_type) => take(&|row| says(column, row, *data_type)),
            Check::Matches(regex) => {
                let values = column.as_string::<i32>();
                take(&|row| regex.is_match(values.value(row)));
            }
        }
    }
}

/// What a rule does with a column of this type.
fn check(kind: &Kind, data_type: Option<DataType>) -> Result<Check> {
    let wrong = |sentence: String| Error::invalid_definition(sentence);
    let Some(data_type) = data_type else {
        return match kind {
            Kind::RowsPer { min: None, max: None, .. } => Err(wrong("give min, max or both".to_owned())),
            Kind::RowsPer { min: Some(min), max: Some(max), .. } if min > max => {
                Err(wrong(format!("min {min} is above max {max}")))
            }
            _ => Ok(Check::Stream),
        };
    };
    Ok(match kind {
        Kind::Between { min, max, .. } => {
            if !matches!(data_type, DataType::Int | DataType::Float | DataType::Str | DataType::Datetime) {
                return Err(wrong(format!(
                    "a field of type {data_type} has no order; expected int, float, str or datetime"
                )));
            }
            let bound = |bound: &Option<LiteralValue>| match bound {
                None | Some(LiteralValue::Null) => Ok(None),
                Some(bound) => bound.value(data_type).map(Some),
            };
            let (min, max) = (bound(min)?, bound(max)?);
            match (&min, &max) {
                (None, None) => return Err(wrong("give min_value, max_value or both".to_owned())),
                (Some(Value::Float(bound)), _) | (_, Some(Value::Float(bound))) if bound.is_nan() => {
                    return Err(wrong("NaN is no bound".to_owned()));
                }
                _ => {}
            }
            Check::Between(min, max)
        }
        Kind::NotNull { .. } => Check::NotNull,
        Kind::InSet { values, .. } => in_set(values, data_type)?,
        Kind::OfType { data_type: expected, .. } if expected.is_plain() => Check::OfType(*expected),
        Kind::OfType { data_type: expected, .. } => {
            return Err(wrong(format!("expected int, float, str, bool or datetime, got {expected}")));
        }
        Kind::Matches { regex, .. } => {
            if data_type != DataType::Str {
                return Err(wrong(format!("a pattern is for texts, and the field is of type {data_type}")));
            }
            if regex.len() > PATTERN_BYTES_MAX {
                return Err(wrong(format!(
                    "a pattern has at most {PATTERN_BYTES_MAX} bytes, got {}",
                    regex.len()
                )));
            }
            let built = regex::RegexBuilder::new(regex).size_limit(PATTERN_SIZE).build();
            Check::Matches(built.map_err(|error| {
                // The last line says what is wrong; those before it show where.
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                wrong(format!("the pattern cannot be read: {reason}"))
            })?)
        }
        Kind::UniqueWithin { .. } | Kind::RowsPer { .. } => Check::Stream,
    })
}

fn in_set(values: &[LiteralValue], data_type: DataType) -> Result<Check> {
    if values.is_empty() {
        return Err(Error::invalid_definition(
            "the set is empty; give the values that are expected".to_owned(),
        ));
    }
    let mut all = Vec::with_capacity(values.len());
    for value in values {
        match value.value(data_type)? {
            Value::Null => {
                let sentence = "null is no member of a set, since nulls are not judged; see expect_column_values_to_not_be_null";
                return Err(Error::invalid_definition(sentence.to_owned()));
            }
            value => all.push(value),
        }
    }
    let ints = |value: &Value| match value {
        Value::Int(v) | Value::Datetime(v) => Some(*v),
        _ => None,
    };
    let floats = |value: &Value| if let Value::Float(v) = value { Some(v.to_bits()) } else { None };
    let texts = |value: &Value| if let Value::Str(v) = value { Some((&**v).into()) } else { None };
    let has = |expected: bool| all.iter().any(|v| matches!(v, Value::Bool(v) if *v == expected));
    Ok(match data_type {
        DataType::Int | DataType::Datetime => Check::Ints(all.iter().filter_map(ints).collect()),
        DataType::Float => Check::Floats(all.iter().filter_map(floats).collect()),
        DataType::Str => Check::Texts(all.iter().filter_map(texts).collect()),
        DataType::Bool => Check::Bools([has(false), has(true)]),
        _ => {
            return Err(Error::invalid_definition(format!(
                "a set is of values of type int, float, str, bool or datetime, and the field is of type {data_type}"
            )));
        }
    })
}

/// NaN is inside of nothing.
fn inside<T: PartialOrd>(value: &T, min: Option<&T>, max: Option<&T>) -> bool {
    min.is_none_or(|min| value >= min)
        && max.is_none_or(|max| value <= max)
        && value.partial_cmp(value).is_some()
}

fn int(bound: &Option<Value>) -> Option<i64> {
    match bound {
        Some(Value::Int(v) | Value::Datetime(v)) => Some(*v),
        _ => None,
    }
}

fn float(bound: &Option<Value>) -> Option<f64> {
    if let Some(Value::Float(v)) = bound { Some(*v) } else { None }
}

fn text(bound: &Option<Value>) -> Option<&str> {
    if let Some(Value::Str(v)) = bound { Some(v) } else { None }
}

/// Whether a value that is there says one of a type.
fn says(column: &ArrayRef, row: usize, expected: DataType) -> bool {
    use arrow::datatypes::DataType as A;
    let whole = |v: f64| v.is_finite() && v.fract() == 0.0;
    match (column.data_type(), expected) {
        (A::Int64, DataType::Int | DataType::Float)
        | (A::Float64, DataType::Float)
        | (A::Utf8, DataType::Str)
        | (A::Boolean, DataType::Bool)
        | (A::Timestamp(..), DataType::Datetime) => true,
        (A::Float64, DataType::Int) => whole(column.as_primitive::<Float64Type>().value(row)),
        (A::Utf8, _) => {
            let text = column.as_string::<i32>().value(row);
            match expected {
                DataType::Int => text.parse::<i64>().is_ok(),
                DataType::Float => text.parse::<f64>().is_ok(),
                DataType::Bool => matches!(text, "true" | "false"),
                DataType::Datetime => parse_timestamp(text).is_ok(),
                _ => true,
            }
        }
        _ => false,
    }
}
