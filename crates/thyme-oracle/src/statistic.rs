//! Aggregates with a formula of their own, each written from it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use num_bigint::BigInt;
use thyme_core::aggregate::{Argument, Outcome};
use thyme_core::{Error, EventTime, Extent, Result, Span, Value};

use crate::aggregate::{Question, extreme};
use crate::exact::Fraction;
use crate::number::exact_sum;

const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0000);

/// When the window of a question begins and ends: `T`, unless it is a window of earlier. Which rows it has is said
/// elsewhere, in other words.
fn extent(question: &Question<'_>) -> Extent {
    Extent::of(question.window.as_ref(), question.retention, question.until)
}

/// Whether an event of `time` counts at all: where values decay, one that is too old does not.
pub(crate) fn counts(time: EventTime, question: &Question<'_>) -> bool {
    let age = || i128::from(extent(question).until.0) - i128::from(time.0);
    question.aggregate != "exp_decay_sum" || age() < 2200 * i128::from(half_life(question))
}

/// What rows, each a time and a value, come to. There is one at least, and none is null.
pub(crate) fn statistic(rows: &[(i64, Value)], question: &Question<'_>) -> Result<Outcome> {
    let until = extent(question).until.0;
    let since = |(time, _): &(i64, Value)| float((i128::from(until) - i128::from(*time)) as f64 / 1e6);
    let texts: Vec<String> = rows.iter().map(|(_, value)| format!("{value:?}")).collect();
    let distinct: BTreeSet<&String> = texts.iter().collect();
    let value = match (question.aggregate, rows) {
        ("time_since_last", [.., last]) => since(last),
        ("time_since_first", [first, ..]) => since(first),
        ("delta", [(_, only)]) => return difference(only, only),
        ("delta", [(_, first), .., (_, last)]) => return difference(first, last),
        ("range", _) => {
            let values = || rows.iter().map(|(_, value)| value.clone());
            return difference(&extreme(values(), Ordering::Less)?, &extreme(values(), Ordering::Greater)?);
        }
        ("count_distinct", _) if distinct.len() <= 1024 || flag(question, "exact") => {
            Value::Int(distinct.len() as i64)
        }
        ("count_distinct", _) => Value::Int(sketched(rows)),
        ("entropy_of", _) => entropy(&texts),
        ("rate", _) => rate(rows, question)?,
        (_, _) => return numbers(rows, question),
    };
    Ok(Outcome::Value(value))
}

fn float(v: f64) -> Value {
    Value::Float(if v.is_nan() { NAN } else { v + 0.0 })
}

fn text<'q>(question: &'q Question<'_>, name: &str, otherwise: &'q str) -> &'q str {
    match question.parameters.get(name) {
        Some(Argument::Text(text)) => text,
        _ => otherwise,
    }
}

fn flag(question: &Question<'_>, name: &str) -> bool {
    question.parameters.get(name) == Some(&Argument::Flag(true))
}

/// A number as it is written in decimal.
fn decimal(question: &Question<'_>, name: &str) -> Option<Fraction> {
    let text = match question.parameters.get(name)? {
        Argument::Int(v) => v.to_string(),
        Argument::Float(v) => format!("{v}"),
        _ => return None,
    };
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let digits: BigInt = format!("{whole}{decimals}").parse().ok()?;
    Some(Fraction::new(digits, BigInt::from(10).pow(decimals.len() as u32)))
}

fn half_life(question: &Question<'_>) -> i64 {
    Span::parse(text(question, "half_life", "1s")).map_or(1, |span| span.0)
}

fn difference(from: &Value, to: &Value) -> Result<Outcome> {
    match (from, to) {
        (Value::Int(from), Value::Int(to)) => match i64::try_from(i128::from(*to) - i128::from(*from)) {
            Ok(difference) => Ok(Outcome::Value(Value::Int(difference))),
            Err(_) => Ok(Outcome::Overflow),
        },
        (Value::Float(from), Value::Float(to)) => Ok(Outcome::Value(float(to - from))),
        _ => Err(Error::internal(format!("{to} less {from} is not defined"))),
    }
}

/// The aggregates that are fractions of the values.
fn numbers(rows: &[(i64, Value)], question: &Question<'_>) -> Result<Outcome> {
    let floats: Vec<f64> = rows.iter().map(|(_, value)| as_float(value)).collect::<Result<_>>()?;
    let finite: Option<Vec<Fraction>> = rows.iter().map(|(_, value)| Fraction::of(value)).collect();
    let population = text(question, "kind", "sample") == "population";
    let value = match (question.aggregate, finite) {
        ("exp_decay_sum", None) => float(exact_sum(&floats)),
        ("exp_decay_sum", Some(values)) => decayed(rows, &values, question),
        ("approx_percentile", _) => percentile(&floats, question),
        ("quantile" | "median", finite) => quantile(rows, &floats, finite.as_deref(), question),
        ("variance" | "stddev" | "skew" | "kurtosis" | "slope", None) => float(NAN),
        ("slope", Some(values)) => slope(rows, &values),
        ("variance", Some(values)) => variance(&values, population),
        ("stddev", Some(values)) => match variance(&values, population) {
            Value::Float(variance) => float(variance.sqrt()),
            other => other,
        },
        ("skew", Some(values)) => skew(&values, population),
        ("kurtosis", Some(values)) => kurtosis(&values, population),
        (other, _) => {
            return Err(Error::internal(format!("the oracle does not know the aggregate {other}")));
        }
    };
    Ok(Outcome::Value(value))
}

fn as_float(value: &Value) -> Result<f64> {
    match value {
        Value::Int(v) => Ok(*v as f64),
        Value::Float(v) => Ok(*v),
        other => Err(Error::internal(format!("{other} is no number"))),
    }
}

/// The sum of the `p`th powers of `n x - sum(x)`, which is `n` times the distance from the mean; and what these
/// distances are in units of.
fn distances(values: &[Fraction]) -> (impl Fn(u32) -> BigInt, BigInt, BigInt) {
    let (whole, unit) = Fraction::common(values);
    let n = BigInt::from(values.len());
    let total: BigInt = whole.iter().sum();
    let away: Vec<BigInt> = whole.iter().map(|x| &n * x - &total).collect();
    (move |p| away.iter().map(|d| d.pow(p)).sum(), unit, n)
}

fn variance(values: &[Fraction], population: bool) -> Value {
    let (power, unit, n) = distances(values);
    let by = if population { n.clone() } else { &n - 1 };
    if by == BigInt::ZERO {
        return Value::Null;
    }
    float(Fraction::new(power(2), by * &n * &n * &unit * &unit).rounded())
}

fn skew(values: &[Fraction], population: bool) -> Value {
    let (power, _, n) = distances(values);
    let (two, three) = (power(2), power(3));
    if two == BigInt::ZERO || (!population && values.len() < 3) {
        return Value::Null;
    }
    // (m3 / m2^1.5)^2, with m_p = power(p) / n.
    let mut square = Fraction::new(&three * &three * &n, two.pow(3));
    if !population {
        square = square.times(&Fraction::new(&n * (&n - 1), BigInt::pow(&(&n - 2), 2)));
    }
    let root = square.rounded().sqrt();
    float(if three < BigInt::ZERO { -root } else { root })
}

fn kurtosis(values: &[Fraction], population: bool) -> Value {
    let (power, _, n) = distances(values);
    let two = power(2);
    if two == BigInt::ZERO || (!population && values.len() < 4) {
        return Value::Null;
    }
    let three = Fraction::new(BigInt::from(-3), BigInt::from(1));
    let excess = Fraction::new(power(4) * &n, two.pow(2)).plus(&three);
    if population {
        return float(excess.rounded());
    }
    let whole = |of: BigInt| Fraction::new(of, BigInt::from(1));
    let more = excess.times(&whole(&n + 1)).plus(&whole(BigInt::from(6)));
    float(more.times(&Fraction::new(&n - 1, (&n - 2) * (&n - 3))).rounded())
}

fn slope(rows: &[(i64, Value)], values: &[Fraction]) -> Value {
    let (whole, unit) = Fraction::common(values);
    let n = BigInt::from(rows.len());
    let times: Vec<BigInt> = rows.iter().map(|(time, _)| BigInt::from(*time)).collect();
    let (t, x): (BigInt, BigInt) = (times.iter().sum(), whole.iter().sum());
    let mut together = BigInt::ZERO;
    let mut spread = BigInt::ZERO;
    for (time, value) in times.iter().zip(&whole) {
        let away = &n * time - &t;
        together += &away * (&n * value - &x);
        spread += &away * &away;
    }
    if spread == BigInt::ZERO {
        return Value::Null;
    }
    float(Fraction::new(together * 1_000_000, spread * unit).rounded())
}

fn rate(rows: &[(i64, Value)], question: &Question<'_>) -> Result<Value> {
    let mut total = Fraction::new(BigInt::from(rows.len()), BigInt::from(1));
    if question.of.is_some() {
        let floats: Vec<f64> = rows.iter().map(|(_, value)| as_float(value)).collect::<Result<_>>()?;
        let Some(values) = rows.iter().map(|(_, value)| Fraction::of(value)).collect::<Option<Vec<_>>>()
        else {
            return Ok(float(exact_sum(&floats)));
        };
        let (whole, unit) = Fraction::common(&values);
        total = Fraction::new(whole.iter().sum(), unit);
    }
    let Extent { after, until, .. } = extent(question);
    if after.0 == i64::MIN {
        return Ok(Value::Null);
    }
    let micros = BigInt::from(until.0) - BigInt::from(after.0);
    let seconds = Fraction::new(micros, BigInt::from(1_000_000));
    Ok(total.over(&seconds).map_or(Value::Null, |rate| float(rate.rounded())))
}

fn decayed(rows: &[(i64, Value)], values: &[Fraction], question: &Question<'_>) -> Value {
    let half_life = half_life(question);
    // In half-lives: whole ones, and two to the power of the rest.
    let scale = |time: i64| {
        let rest = time.rem_euclid(half_life) as f64 / half_life as f64;
        (time.div_euclid(half_life), Fraction::of_float(libm::exp2(rest)))
    };
    let (now, rest_now) = scale(extent(question).until.0);
    let weighed = rows.iter().zip(values).map(|((time, _), value)| {
        let (then, rest) = scale(*time);
        value.times(&rest).times_two_to(then - now)
    });
    let (whole, unit) = Fraction::common(&weighed.collect::<Vec<_>>());
    let total = Fraction::new(whole.iter().sum(), unit);
    total.over(&rest_now).map_or(Value::Null, |total| float(total.rounded()))
}

/// The order of floats; none is NaN.
fn ordered(floats: &[f64]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..floats.len()).collect();
    places.sort_by(|a, b| floats[*a].partial_cmp(&floats[*b]).unwrap_or(Ordering::Equal));
    places
}

fn quantile(
    rows: &[(i64, Value)],
    floats: &[f64],
    finite: Option<&[Fraction]>,
    question: &Question<'_>,
) -> Value {
    if floats.iter().any(|v| v.is_nan()) {
        return float(NAN);
    }
    let mut places = ordered(floats);
    if let Some((_, Value::Int(_))) = rows.first() {
        let int = |place: &usize| if let (_, Value::Int(v)) = &rows[*place] { *v } else { 0 };
        places.sort_by_key(int);
    }
    let half = || Fraction::new(BigInt::from(1), BigInt::from(2));
    let q = decimal(question, "q").unwrap_or_else(half);
    let at = q.times(&Fraction::new(BigInt::from(rows.len() - 1), BigInt::from(1)));
    let (index, mut part) = at.split();
    let nearest = part.times_two_to(1).plus(&Fraction::new(BigInt::from(-1), BigInt::from(1))).sign() > 0;
    let whole = |n: i32| Fraction::new(BigInt::from(n), BigInt::from(1));
    if part.sign() > 0 {
        part = match text(question, "interpolation", "linear") {
            "lower" => whole(0),
            "higher" => whole(1),
            "midpoint" => half(),
            "nearest" => whole(i32::from(nearest)),
            _ => part,
        };
    }
    let low = places[index];
    let high = places[(index + usize::from(part.sign() > 0)).min(rows.len() - 1)];
    let Some(values) = finite else {
        // Between infinities, or at one.
        let at_one = |v: &Fraction| v.plus(&whole(-1)).sign() == 0;
        return match (part.sign(), floats[low] == floats[high]) {
            (0, _) | (_, true) => float(floats[low]),
            _ if at_one(&part) => float(floats[high]),
            _ if floats[low].is_finite() && floats[high].is_finite() => {
                between(&Fraction::of_float(floats[low]), &Fraction::of_float(floats[high]), &part)
            }
            _ => float(floats[low] + floats[high]),
        };
    };
    between(&values[low], &values[high], &part)
}

fn between(low: &Fraction, high: &Fraction, part: &Fraction) -> Value {
    let minus = Fraction::new(BigInt::from(-1), BigInt::from(1));
    float(low.plus(&high.plus(&low.times(&minus)).times(part)).rounded())
}

/// The number of the bucket that a float is in: its sign, and its magnitude with seven bits of the mantissa.
fn truncated(v: f64) -> f64 {
    let kept = v.abs().to_bits() / (1 << 45) * (1 << 45);
    if v < 0.0 { -f64::from_bits(kept) } else { f64::from_bits(kept) }
}

fn percentile(floats: &[f64], question: &Question<'_>) -> Value {
    if floats.iter().any(|v| v.is_nan()) {
        return float(NAN);
    }
    let n = floats.len();
    let Some(percent) = decimal(question, "pct") else {
        let newest = floats.last().copied().unwrap_or_default();
        // Buckets on both sides of zero are two.
        let lower = floats.iter().filter(|v| match truncated(**v).partial_cmp(&truncated(newest)) {
            Some(Ordering::Equal) => !(**v >= 0.0 && newest < 0.0),
            order => order == Some(Ordering::Less),
        });
        return float(lower.count() as f64 / n as f64);
    };
    // The least rank that is at least this part of all.
    let wanted = percent.times(&Fraction::new(BigInt::from(n), BigInt::from(100)));
    let reaches = |rank: &usize| {
        let less = wanted.plus(&Fraction::new(-BigInt::from(*rank), BigInt::from(1)));
        less.sign() <= 0
    };
    let rank = (1..=n).find(reaches).unwrap_or(n);
    float(truncated(floats[ordered(floats)[rank - 1]]))
}

fn entropy(texts: &[String]) -> Value {
    let mut counts: BTreeMap<&String, u64> = BTreeMap::new();
    texts.iter().for_each(|text| *counts.entry(text).or_default() += 1);
    if counts.len() == 1 {
        return Value::Float(0.0);
    }
    let weight = |count: &u64| if *count > 1 { *count as f64 * libm::log2(*count as f64) } else { 0.0 };
    let weights: Vec<f64> = counts.values().map(weight).collect();
    let n = texts.len() as f64;
    float((libm::log2(n) - exact_sum(&weights) / n).max(0.0))
}

/// HyperLogLog with 2^14 registers: FNV-1a and the mixer of MurmurHash3, and Ertl's improved estimator.
fn sketched(rows: &[(i64, Value)]) -> i64 {
    let mut registers = vec![0usize; 1 << 14];
    for (_, value) in rows {
        let hash = hash(value);
        let bits: Vec<bool> = (0..64).rev().map(|i| hash >> i & 1 == 1).collect();
        let register = bits.iter().take(14).fold(0, |all, bit| all * 2 + usize::from(*bit));
        let run = bits.iter().skip(14).take_while(|bit| !**bit).count() + 1;
        registers[register] = registers[register].max(run);
    }
    let m = registers.len() as f64;
    let share = |run: usize| registers.iter().filter(|r| **r == run).count() as f64 / m;
    let mut z = m * tau(1.0 - share(51));
    for run in (1..=50).rev() {
        z = 0.5 * (z + share(run) * m);
    }
    z += m * sigma(share(0));
    // 1 / (2 ln 2)
    ((0.721_347_520_444_481_7 * m * m / z).round() as i64).max(1025)
}

fn hash(value: &Value) -> u64 {
    let bytes = match value {
        Value::Str(text) => text.as_bytes().to_vec(),
        Value::Int(v) | Value::Datetime(v) => v.to_le_bytes().to_vec(),
        Value::Float(v) => v.to_le_bytes().to_vec(),
        Value::Bool(v) => u64::from(*v).to_le_bytes().to_vec(),
        Value::Date(v) => i64::from(*v).to_le_bytes().to_vec(),
        Value::Bytes(v) => v.to_vec(),
        Value::Decimal(_, v) => v.get().to_le_bytes().to_vec(),
        // Of nothing else distinct values are counted.
        _ => Vec::new(),
    };
    let mut hash = 14_695_981_039_346_656_037u64;
    for byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211);
    }
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

/// `x + x^2 + 2 x^4 + 4 x^8 + ...`
fn sigma(x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut x, mut sum, mut factor) = (x, x, 1.0);
    for _ in 0..200 {
        x *= x;
        sum += x * factor;
        factor *= 2.0;
        if x == 0.0 {
            break;
        }
    }
    sum
}

/// `(1 - x - (1 - x^(1/2))^2 / 2 - (1 - x^(1/4))^2 / 4 - ...) / 3`
fn tau(x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut x, mut sum, mut factor) = (x, 1.0 - x, 1.0);
    for _ in 0..200 {
        x = x.sqrt();
        factor *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * factor;
    }
    sum / 3.0
}
