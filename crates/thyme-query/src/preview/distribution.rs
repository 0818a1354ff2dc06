//! What the values of a feature look like, and where two lots of them differ.

use std::collections::BTreeMap;

use thyme_core::Value;
use thyme_core::value::decimal::decimal_as_float;

/// The bars of a histogram.
const BARS: usize = 12;
/// The categories that are counted by themselves.
const CATEGORIES_MAX: usize = 10;

/// A summary of the values of some rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// How many there are.
    pub rows: u64,
    /// How many of them are null.
    pub nulls: u64,
    /// How many of them are NaN or infinite.
    pub non_finite: u64,
    /// Of numbers and datetimes that are finite.
    pub numbers: Option<Numbers>,
    /// Of texts and bools: the most frequent ones, each with its count.
    pub categories: Vec<(Value, u64)>,
    /// How many rows have another value than these.
    pub others: u64,
}

/// A summary of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// The smallest.
    pub min: Value,
    /// The lower of the two in the middle.
    pub median: Value,
    /// The largest.
    pub max: Value,
    /// The mean; datetimes have none.
    pub mean: Option<f64>,
}

/// Two histograms over the same bars.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Where bars begin and end: one more than there are bars.
    pub edges: Vec<f64>,
    /// Rows a bar, before.
    pub old: Vec<u64>,
    /// Rows a bar, after.
    pub new: Vec<u64>,
}

/// A finite number as a place on a line.
fn place(value: &Value) -> Option<f64> {
    match value {
        Value::Int(v) | Value::Datetime(v) => Some(*v as f64),
        Value::Float(v) if v.is_finite() => Some(*v),
        Value::Date(v) => Some(f64::from(*v)),
        Value::Decimal(scale, v) => Some(decimal_as_float(v.get(), *scale)),
        _ => None,
    }
}

impl Distribution {
    /// That of some values.
    pub fn of(values: &[Value]) -> Distribution {
        let mut all = Distribution { rows: values.len() as u64, ..Distribution::default() };
        let mut numbers: Vec<(f64, &Value)> = Vec::new();
        let mut counts: BTreeMap<String, (&Value, u64)> = BTreeMap::new();
        for value in values {
            match value {
                Value::Null => all.nulls += 1,
                Value::Float(v) if !v.is_finite() => all.non_finite += 1,
                value => match place(value) {
                    Some(place) => numbers.push((place, value)),
                    None => counts.entry(value.to_string()).or_insert((value, 0)).1 += 1,
                },
            }
        }
        all.numbers = summary(numbers);
        let mut counts: Vec<(&Value, u64)> = counts.into_values().collect();
        // Those with the same count stay in the order of their texts.
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all.others = counts.iter().skip(CATEGORIES_MAX).map(|(_, count)| count).sum();
        all.categories =
            counts.into_iter().take(CATEGORIES_MAX).map(|(value, count)| (value.clone(), count)).collect();
        all
    }
}

fn summary(mut numbers: Vec<(f64, &Value)>) -> Option<Numbers> {
    let exact = |value: &Value| match value {
        Value::Int(v) | Value::Datetime(v) => i128::from(*v),
        Value::Decimal(_, v) => v.get(),
        _ => 0,
    };
    numbers.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| exact(a.1).cmp(&exact(b.1))));
    let middle = numbers.len().checked_sub(1)? / 2;
    let (min, median, max) = (numbers.first()?.1, numbers.get(middle)?.1, numbers.last()?.1);
    let count = numbers.len() as f64;
    let mean = match min {
        Value::Datetime(_) | Value::Date(_) => None,
        _ => {
            let sum: f64 = numbers.iter().map(|(place, _)| place).sum();
            Some(match sum.is_finite() {
                true => sum / count,
                false => numbers.iter().map(|(place, _)| place / count).sum(),
            })
        }
    };
    Some(Numbers { min: min.clone(), median: median.clone(), max: max.clone(), mean })
}

impl Histogram {
    /// That of the finite numbers among the values before and after; `None` if there are none.
    pub fn of(old: &[Value], new: &[Value]) -> Option<Histogram> {
        let is_int = |value: &Value| matches!(value, Value::Int(_) | Value::Null);
        let is_whole = old.iter().chain(new).all(is_int);
        let places = |values: &[Value]| values.iter().filter_map(place).collect::<Vec<f64>>();
        let (old, new) = (places(old), places(new));
        let low = old.iter().chain(&new).copied().min_by(f64::total_cmp)?;
        let high = old.iter().chain(&new).copied().max_by(f64::total_cmp)?;
        let edges = edges(low, high, is_whole);
        let bars = edges.len() - 1;
        let count = |values: &[f64]| {
            let mut counts = vec![0u64; bars];
            for value in values {
                let bar = edges.partition_point(|edge| edge <= value).saturating_sub(1).min(bars - 1);
                counts[bar] += 1;
            }
            counts
        };
        let (old, new) = (count(&old), count(&new));
        Some(Histogram { edges, old, new })
    }
}

/// Where the bars between `low` and `high` begin and end; a few whole numbers have a bar each.
fn edges(low: f64, high: f64, is_whole: bool) -> Vec<f64> {
    if is_whole && high - low < BARS as f64 {
        return (0..=(high - low) as usize + 1).map(|bar| low + bar as f64).collect();
    }
    let bars = if low == high { 1 } else { BARS };
    // No difference is taken, which could overflow.
    let edge = |bar: usize| {
        let part = bar as f64 / bars as f64;
        (low * (1.0 - part) + high * part).clamp(low, high)
    };
    let mut edges: Vec<f64> = (0..bars).map(edge).chain([high]).collect();
    edges.sort_by(f64::total_cmp);
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f64]) -> Vec<Value> {
        values.iter().map(|v| Value::Float(*v)).collect()
    }

    #[test]
    fn numbers_are_summed_up_without_nulls_and_what_is_not_finite() {
        let mut values = floats(&[3.0, f64::NAN, 1.0, f64::INFINITY, 2.0, 10.0]);
        values.push(Value::Null);
        let all = Distribution::of(&values);
        assert_eq!((all.rows, all.nulls, all.non_finite), (7, 1, 2));
        let numbers = all.numbers.unwrap();
        let shown = (numbers.min, numbers.median, numbers.max, numbers.mean);
        assert_eq!(shown, (Value::Float(1.0), Value::Float(2.0), Value::Float(10.0), Some(4.0)));
    }

    #[test]
    fn large_ints_keep_their_last_digit_and_large_floats_have_a_mean() {
        let large = Distribution::of(&[Value::Int(i64::MAX), Value::Int(i64::MAX - 1)]).numbers.unwrap();
        assert_eq!((large.min, large.max), (Value::Int(i64::MAX - 1), Value::Int(i64::MAX)));
        let mean = Distribution::of(&floats(&[f64::MAX, f64::MAX])).numbers.unwrap().mean;
        assert_eq!(mean, Some(f64::MAX));
    }

    #[test]
    fn texts_are_counted_and_the_rarest_are_counted_together() {
        let mut values = vec![Value::Str("a".into()); 3];
        values.extend((0..12).map(|n| Value::Str(format!("z{n:02}").into())));
        let all = Distribution::of(&values);
        assert_eq!(all.categories[0], (Value::Str("a".into()), 3));
        assert_eq!((all.categories.len(), all.others), (10, 3));
        assert!(all.numbers.is_none());
    }

    #[test]
    fn both_histograms_have_the_same_bars_and_every_row_is_in_one() {
        let (old, new) = (floats(&[-f64::MAX, 0.0, 1.0]), floats(&[f64::MAX, 0.0, f64::NAN]));
        let both = Histogram::of(&old, &new).unwrap();
        assert_eq!((both.old.iter().sum::<u64>(), both.new.iter().sum::<u64>()), (3, 2));
        assert!(both.edges.is_sorted() && both.edges.iter().all(|edge| edge.is_finite()));
        assert_eq!(both.edges.len(), both.old.len() + 1);
        let one = Histogram::of(&floats(&[2.0]), &floats(&[2.0, 2.0])).unwrap();
        assert_eq!((one.old, one.new), (vec![1], vec![2]));
        let ints = Histogram::of(&[Value::Int(3), Value::Int(1)], &[Value::Int(3), Value::Null]).unwrap();
        let expected = (vec![1.0, 2.0, 3.0, 4.0], vec![1, 0, 1], vec![0, 0, 1]);
        assert_eq!((ints.edges, ints.old, ints.new), expected);
        assert!(Histogram::of(&[Value::Null], &[Value::Str("a".into())]).is_none());
    }
}
