//! What a definition may say to an aggregate besides its columns, typed and checked in one place.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Aggregate;
use crate::time::Span;
use crate::value::canonical;

/// A [`Setting::Decimal`] counts these in one.
pub const DECIMAL_ONE: i64 = 1_000_000_000;

/// The most edges of bins.
const EDGES_MAX: usize = 1000;

/// What [`sample_arguments`] call a column.
pub const SAMPLE_COLUMN: &str = "by";

/// The most decimals of a number that is kept exactly.
const DECIMALS_MAX: usize = 9;

/// A parameter as a definition document has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Argument {
    /// `true` or `false`.
    Flag(bool),
    /// An integer.
    Int(i64),
    /// A number.
    Float(f64),
    /// A word, a duration or the name of a column.
    Text(String),
    /// Numbers.
    Numbers(Vec<f64>),
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Argument::Flag(true) => f.write_str("True"),
            Argument::Flag(false) => f.write_str("False"),
            Argument::Int(v) => write!(f, "{v}"),
            Argument::Float(v) => write!(f, "{v:?}"),
            Argument::Text(v) => write!(f, "{v:?}"),
            Argument::Numbers(v) => write!(f, "{v:?}"),
        }
    }
}

/// What a parameter is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// One of the words of [`Kind::Choice`].
    Choice(&'static str),
    /// True or false.
    Flag(bool),
    /// An exact decimal number, in units of `1 / DECIMAL_ONE`.
    Decimal(i64),
    /// A duration.
    Span(Span),
    /// An integer.
    Int(i64),
    /// The name of a column.
    Column(String),
    /// The bits of floats in ascending order.
    Edges(Vec<u64>),
}

/// What may be given for a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of some words.
    Choice(&'static [&'static str]),
    /// True or false.
    Flag,
    /// A number from the first to the second, with at most nine decimals.
    Decimal(i64, i64),
    /// A duration.
    Span,
    /// An integer from the first to the second.
    Int(i64, i64),
    /// The name of a column besides `of`; an aggregate has one such parameter at most, and says in
    /// [`Aggregate::output_type`] which types it may have.
    Column,
    /// One to so many finite numbers, each greater than the one before.
    Edges,
}

/// A parameter that an aggregate takes.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name in Python and in the document.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether it must be given, and what it is if not.
    pub absent: Absent,
}

/// What an aggregate does without a parameter.
#[derive(Clone, Debug)]
pub enum Absent {
    /// It cannot be.
    Required,
    /// It takes this one.
    Takes(Setting),
    /// Without it the aggregate is another.
    Differs,
}

/// The parameters of a call of an aggregate, all of them: those that were not given have their defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(Vec<(&'static str, Setting)>);

/// Something wrong with a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterFault {
    /// What was expected.
    pub expected: String,
    /// What came.
    pub got: String,
    /// The sentence.
    pub message: String,
}

impl Settings {
    /// The settings that `given` stands for.
    ///
    /// # Errors
    /// All that is wrong: parameters that are not known, are missing, or have a value they cannot have.
    pub fn of(
        aggregate: &dyn Aggregate,
        given: &BTreeMap<String, Argument>,
    ) -> Result<Settings, Vec<ParameterFault>> {
        let (name, parameters) = (aggregate.name(), aggregate.parameters());
        let mut faults = Vec::new();
        for (unknown, value) in given.iter().filter(|(n, _)| parameters.iter().all(|p| p.name != *n)) {
            let takes = match parameters {
                [] => "no parameters".to_owned(),
                some => some.iter().map(|p| p.name).collect::<Vec<_>>().join(", "),
            };
            let message = format!("{name} does not know {unknown}={value}: it takes {takes}");
            faults.push(ParameterFault { expected: takes, got: unknown.clone(), message });
        }
        let mut settings = Vec::new();
        for parameter in parameters {
            let setting = match (given.get(parameter.name), &parameter.absent) {
                (Some(value), _) => parameter.kind.read(value).ok_or_else(|| value.to_string()),
                (None, Absent::Takes(setting)) => Ok(setting.clone()),
                (None, Absent::Differs) => continue,
                (None, Absent::Required) => Err("nothing".to_owned()),
            };
            match setting {
                Ok(setting) => settings.push((parameter.name, setting)),
                Err(got) => {
                    let expected = format!("{}={}", parameter.name, parameter.kind);
                    let message = format!("{name} needs {expected}: got {got}");
                    faults.push(ParameterFault { expected, got, message });
                }
            }
        }
        if faults.is_empty() { Ok(Settings(settings)) } else { Err(faults) }
    }

    /// The arguments that stand for them.
    pub fn arguments(&self) -> BTreeMap<String, Argument> {
        let argument = |setting: &Setting| match setting {
            Setting::Choice(word) => Argument::Text((*word).to_owned()),
            Setting::Flag(flag) => Argument::Flag(*flag),
            Setting::Decimal(value) => Argument::Float(*value as f64 / DECIMAL_ONE as f64),
            Setting::Span(span) => Argument::Text(span.to_string()),
            Setting::Int(value) => Argument::Int(*value),
            Setting::Column(name) => Argument::Text(name.clone()),
            Setting::Edges(bits) => {
                Argument::Numbers(bits.iter().map(|bits| f64::from_bits(*bits)).collect())
            }
        };
        self.0.iter().map(|(name, setting)| ((*name).to_owned(), argument(setting))).collect()
    }

    fn get(&self, name: &str) -> Option<&Setting> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, setting)| setting)
    }

    /// Whether a [`Kind::Choice`] is `word`.
    pub(super) fn chose(&self, name: &str, word: &str) -> bool {
        matches!(self.get(name), Some(Setting::Choice(chosen)) if *chosen == word)
    }

    /// Whether a [`Kind::Flag`] is set.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Setting::Flag(true)))
    }

    /// A [`Kind::Decimal`], in units of `1 / DECIMAL_ONE`.
    pub(super) fn decimal(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Some(Setting::Decimal(value)) => Some(*value),
            _ => None,
        }
    }

    /// A [`Kind::Int`].
    pub(super) fn int(&self, name: &str) -> Option<usize> {
        match self.get(name) {
            Some(Setting::Int(value)) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    /// [`Kind::Edges`]; empty if there are none.
    pub(super) fn edges(&self, name: &str) -> Vec<f64> {
        match self.get(name) {
            Some(Setting::Edges(bits)) => bits.iter().map(|bits| f64::from_bits(*bits)).collect(),
            _ => Vec::new(),
        }
    }

    /// A [`Kind::Span`].
    pub(super) fn span(&self, name: &str) -> Option<Span> {
        match self.get(name) {
            Some(Setting::Span(span)) => Some(*span),
            _ => None,
        }
    }
}

/// The column besides `of` that a call reads: the parameter that names it, and its name.
pub fn further<'g>(
    aggregate: &dyn Aggregate,
    given: &'g BTreeMap<String, Argument>,
) -> Option<(&'static str, &'g String)> {
    let parameter = aggregate.parameters().iter().find(|parameter| parameter.kind == Kind::Column)?;
    match given.get(parameter.name)? {
        Argument::Text(column) => Some((parameter.name, column)),
        _ => None,
    }
}

/// Arguments to try an aggregate with: each parameter gets each of its typical values once, and is left out once if it
/// can be.
pub fn sample_arguments(aggregate: &dyn Aggregate) -> Vec<BTreeMap<String, Argument>> {
    let parameters = aggregate.parameters();
    let rounds = parameters.iter().map(|p| p.samples().len()).max().unwrap_or(1);
    let pick = |round: usize| {
        let one = |p: &Parameter| {
            let samples = p.samples();
            let sample = samples.get(round % samples.len()).cloned().flatten();
            sample.map(|sample| (p.name.to_owned(), sample))
        };
        parameters.iter().filter_map(one).collect()
    };
    (0..rounds).map(pick).collect()
}

impl Parameter {
    fn samples(&self) -> Vec<Option<Argument>> {
        let mut samples: Vec<Option<Argument>> = match self.kind {
            Kind::Choice(words) => {
                words.iter().map(|word| Some(Argument::Text((*word).to_owned()))).collect()
            }
            Kind::Flag => vec![Some(Argument::Flag(true)), Some(Argument::Flag(false))],
            Kind::Decimal(least, most) => {
                let part = |part: f64| least as f64 + (most - least) as f64 * part;
                let parts = [0.5, 0.25, 0.99, 0.125];
                let inner = parts.map(|p| Some(Argument::Float(part(p))));
                inner.into_iter().chain([Some(Argument::Int(least)), Some(Argument::Int(most))]).collect()
            }
            Kind::Span => ["1s", "1h", "3d"].map(|text| Some(Argument::Text(text.to_owned()))).into(),
            Kind::Int(least, most) => [3, least, most].map(|value| Some(Argument::Int(value))).into(),
            Kind::Edges => {
                let many = (0..70).map(|edge| f64::from(edge) - 35.0).collect();
                [vec![0.0], vec![-1.5, 0.0, 1.0, 7.0], many].map(|v| Some(Argument::Numbers(v))).into()
            }
            Kind::Column => vec![Some(Argument::Text(SAMPLE_COLUMN.to_owned()))],
        };
        if !matches!(self.absent, Absent::Required) {
            samples.push(None);
        }
        samples
    }
}

impl Kind {
    fn read(self, value: &Argument) -> Option<Setting> {
        match (self, value) {
            (Kind::Choice(words), Argument::Text(text)) => {
                words.iter().find(|word| *word == text).map(|word| Setting::Choice(word))
            }
            (Kind::Flag, Argument::Flag(flag)) => Some(Setting::Flag(*flag)),
            (Kind::Decimal(least, most), Argument::Int(_) | Argument::Float(_)) => {
                let read = decimal(value)?;
                let range = least.checked_mul(DECIMAL_ONE)?..=most.checked_mul(DECIMAL_ONE)?;
                range.contains(&read).then_some(Setting::Decimal(read))
            }
            (Kind::Span, Argument::Text(text)) => Span::parse(text).ok().map(Setting::Span),
            (Kind::Int(least, most), Argument::Int(value)) => {
                (least..=most).contains(value).then_some(Setting::Int(*value))
            }
            (Kind::Edges, Argument::Numbers(edges)) => {
                let edges: Vec<f64> = edges.iter().map(|edge| canonical(*edge)).collect();
                let sound = edges.is_sorted_by(|a, b| a < b) && edges.iter().all(|edge| edge.is_finite());
                let bits = || edges.iter().map(|edge| edge.to_bits()).collect();
                (sound && (1..=EDGES_MAX).contains(&edges.len())).then(|| Setting::Edges(bits()))
            }
            (Kind::Column, Argument::Text(column)) => Some(Setting::Column(column.clone())),
            _ => None,
        }
    }
}

/// A number as users write it, in units of `1 / DECIMAL_ONE`; `None` if it has more decimals or is too large.
fn decimal(value: &Argument) -> Option<i64> {
    let text = match value {
        Argument::Int(v) => v.to_string(),
        Argument::Float(v) if v.is_finite() => v.to_string(),
        _ => return None,
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    if fraction.len() > DECIMALS_MAX {
        return None;
    }
    format!("{whole}{fraction:0<DECIMALS_MAX$}").parse().ok()
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Choice(words) => {
                let quoted = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>();
                f.write_str(&quoted.join(" or "))
            }
            Kind::Flag => f.write_str("True or False"),
            Kind::Decimal(least, most) => {
                write!(f, "a number from {least} to {most} with at most 9 decimals")
            }
            Kind::Span => f.write_str("a duration such as \"7d\""),
            Kind::Int(least, most) => write!(f, "an integer from {least} to {most}"),
            Kind::Edges => write!(f, "a list of 1 to {EDGES_MAX} finite numbers in ascending order"),
            Kind::Column => f.write_str("the name of a column"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_what_was_written() {
        let read = |value| decimal(&Argument::Float(value));
        assert_eq!(read(0.1), Some(100_000_000));
        assert_eq!(read(1e-9), Some(1));
        assert_eq!(read(-2.5), Some(-2_500_000_000));
        assert_eq!(decimal(&Argument::Int(99)), Some(99 * DECIMAL_ONE));
        assert_eq!(read(0.1 + 0.2), None);
        assert_eq!(read(1e300), None);
        assert_eq!(read(f64::NAN), None);
    }
}
