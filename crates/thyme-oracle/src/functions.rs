//! Functions of expressions, one row at a time, each from its own description.

mod casts;
mod json;
mod lists;
mod times;
mod vectors;

use std::cmp::Ordering;

use casts::cast;
use num_bigint::BigInt;
use regex::Regex;
use thyme_core::expr::TEXT_BYTES_MAX;
use thyme_core::value::{NAN, Scalar, Unscaled, canonical};
use thyme_core::{DataType, Error, Result, Value};
use times::{clock, difference, truncated};

use crate::decimals;
use crate::exact::Fraction;
use crate::expression::{Typed, common, compared_values, converted, converts};

/// The value of a call of the function `name`.
///
/// # Errors
/// A call that a commit would have refused.
pub fn call(name: &str, args: Vec<Typed>) -> Result<Typed> {
    use DataType::{Bool, Float, Int, Str};
    let typed = |value: Value, data_type: DataType| Ok(Typed { value, data_type: Some(data_type) });
    let types: Vec<Option<DataType>> = args.iter().map(|arg| arg.data_type).collect();
    let first_type = types.first().copied().flatten();
    // The null literal, which has no type, as the end of a slice is none.
    let is_open = name == "slice" && types.get(2) == Some(&None);
    let kept = if is_open { 2 } else { args.len() };
    let values = || args.iter().take(kept).map(|arg| arg.value.clone()).collect::<Vec<_>>();
    match name {
        "abs" | "sign" => Ok(Typed { value: number(name, &args[0].value)?, data_type: first_type }),
        "round" | "floor" | "ceil" => rounded(name, &args),
        "min_of" | "max_of" => {
            let (values, data_type) = alike(&args)?;
            Ok(Typed { value: extreme(name, values), data_type })
        }
        "clip" => {
            let (values, data_type) = alike(&args)?;
            let mut kept = values[0].clone();
            for (end, pick) in [(1, "max_of"), (2, "min_of")] {
                if types[end].is_some() || !values[end].is_null() {
                    kept = extreme(pick, vec![kept, values[end].clone()]);
                }
            }
            Ok(Typed { value: kept, data_type })
        }
        "atan2" | "haversine_km" => typed(of_floats(name, &values())?, Float),
        "is_not_null" => typed(Value::Bool(!args[0].value.is_null()), Bool),
        "is_nan" => typed(
            match args[0].value {
                Value::Null => Value::Null,
                Value::Float(v) => Value::Bool(v.is_nan()),
                _ => Value::Bool(false),
            },
            Bool,
        ),
        "coalesce" => {
            let (values, data_type) = alike(&args)?;
            Ok(Typed { value: values.into_iter().find(|v| !v.is_null()).unwrap_or_default(), data_type })
        }
        "between" => {
            let [value, low, high] = three(values())?;
            let above = compared_values("ge", value.clone(), low)?;
            let below = compared_values("le", value, high)?;
            typed(all_of(&above, &below), Bool)
        }
        "is_in" => typed(member(values())?, Bool),
        "when" => chosen(&args),
        "cast" => cast(&args),
        "year" | "month" | "day" | "hour" | "minute" | "second" | "weekday" => {
            typed(clock(name, &values())?, Int)
        }
        "is_weekend" => {
            let weekday = clock("weekday", &values())?;
            typed(if let Value::Int(day) = weekday { Value::Bool(day > 4) } else { Value::Null }, Bool)
        }
        "truncate" => {
            Ok(Typed { value: truncated(&values())?, data_type: first_type.or(Some(DataType::Datetime)) })
        }
        "date" => typed(times::date(&values())?, DataType::Date),
        "diff" => typed(difference(&values())?, Float),
        "hash_bucket" => typed(bucket(&values())?, Int),
        "first" => lists::part(&args[0], &Value::Int(0)),
        "last" => lists::part(&args[0], &Value::Int(-1)),
        "get" => lists::part(&args[0], &args[1].value),
        "sum" | "min" | "max" => lists::reduced(name, &args[0]),
        "split" => typed(lists::split(&values())?, DataType::List(Scalar::Str)),
        "join" => typed(lists::join(&values())?, Str),
        "dot" | "cosine" | "l2" => typed(vectors::compared(name, &args)?, Float),
        "json_extract" => json::extracted(&args),
        "len" if first_type != Some(Str) => typed(lists::size(&args[0].value)?, Int),
        "contains" if !matches!(first_type, None | Some(Str)) => {
            typed(lists::has(&args[0].value, &args[1].value)?, Bool)
        }
        "len" => typed(if args[0].value.is_null() { Value::Null } else { text(name, &values())? }, Int),
        "contains" | "starts_with" | "ends_with" | "matches" => typed(text(name, &values())?, Bool),
        "lower" | "upper" | "strip" | "replace" | "slice" | "extract" => typed(text(name, &values())?, Str),
        "concat" if first_type.is_none() && types.len() == 1 => Ok(args[0].clone()),
        "concat" if types.iter().all(Option::is_none) => Ok(Typed { value: Value::Null, data_type: None }),
        "concat" => typed(text(name, &values())?, Str),
        elementary => typed(of_floats(elementary, &values())?, Float),
    }
}

fn misuse(name: &str, args: &[Value]) -> Error {
    Error::internal(format!("{name} was evaluated on {args:?}"))
}

fn three(values: Vec<Value>) -> Result<[Value; 3]> {
    values.try_into().map_err(|values: Vec<Value>| misuse("a function of three", &values))
}

/// The values in the type that all of them have a place in.
fn alike(args: &[Typed]) -> Result<(Vec<Value>, Option<DataType>)> {
    // What says the same in another form (a text beside a datetime, JSON beside a list) is read, wherever it stands.
    let others = args.iter().filter(|arg| !matches!(arg.data_type, Some(DataType::Str | DataType::Json)));
    let is_read = |t: &DataType| converts(*t);
    let known = others.fold(None, |all, arg| common((all, arg.data_type))).filter(is_read);
    let data_type = known.or_else(|| args.iter().fold(None, |all, arg| common((all, arg.data_type))));
    let brought = |arg: &Typed| data_type.map_or(Ok(Value::Null), |t| converted(arg.value.clone(), t));
    Ok((args.iter().map(brought).collect::<Result<_>>()?, data_type))
}

fn number(name: &str, value: &Value) -> Result<Value> {
    Ok(match (name, value) {
        (_, Value::Null) => Value::Null,
        ("abs", Value::Int(v)) => i64::try_from(i128::from(*v).abs()).map_or(Value::Null, Value::Int),
        ("abs", Value::Float(v)) => Value::Float(if *v < 0.0 { -*v } else { *v }),
        ("abs", Value::Decimal(scale, v)) => Value::Decimal(*scale, Unscaled::new(v.get().abs())),
        (_, Value::Decimal(scale, v)) => decimals::of_scale(&Value::Int(v.get().signum() as i64), *scale),
        (_, Value::Int(v)) => Value::Int(v.cmp(&0) as i64),
        (_, Value::Float(v)) => Value::Float(match v.partial_cmp(&0.0) {
            Some(order) => f64::from(order as i8),
            None => NAN,
        }),
        (_, other) => return Err(misuse(name, std::slice::from_ref(other))),
    })
}

/// An int, if the number is whole and has a place in 64 bits.
fn whole(v: f64) -> Value {
    if v.is_finite() && v.fract() == 0.0 && v.abs() < 1e19 {
        return i64::try_from(v as i128).map_or(Value::Null, Value::Int);
    }
    Value::Null
}

fn rounded(name: &str, args: &[Typed]) -> Result<Typed> {
    let int = Some(DataType::Int);
    let digits = match args.get(1).map(|arg| &arg.value) {
        Some(Value::Int(digits)) => Some(*digits),
        _ => None,
    };
    let data_type = if digits.is_some() { args[0].data_type } else { int };
    let value = match (&args[0].value, digits) {
        (Value::Null, _) => Value::Null,
        (Value::Int(v), None) => Value::Int(*v),
        (Value::Int(v), Some(0..)) => Value::Int(*v),
        (Value::Int(v), Some(digits)) => {
            let (v, unit) = (i128::from(*v), 10i128.pow(digits.unsigned_abs() as u32));
            let nearest = half_even(v, unit);
            i64::try_from(nearest * unit).map_or(Value::Null, Value::Int)
        }
        (Value::Decimal(scale, v), digits) => rounded_decimal(name, (v.get(), *scale), digits),
        (Value::Float(v), None) => match name {
            "floor" => whole(v.floor()),
            "ceil" => whole(v.ceil()),
            _ => {
                let below = v.floor();
                whole(match (v - below).partial_cmp(&0.5) {
                    Some(Ordering::Less) => below,
                    Some(Ordering::Equal) if below % 2.0 == 0.0 => below,
                    _ => below + 1.0,
                })
            }
        },
        (Value::Float(v), Some(digits)) => Value::Float(to_digits(*v, digits)),
        (other, _) => return Err(misuse(name, std::slice::from_ref(other))),
    };
    Ok(Typed { value, data_type })
}

/// To an int without digits; with them to a decimal of the same scale.
fn rounded_decimal(name: &str, (v, scale): (i128, u8), digits: Option<i64>) -> Value {
    // More digits than it has change nothing.
    if digits.is_some_and(|digits| digits >= i64::from(scale)) {
        return Value::Decimal(scale, Unscaled::new(v));
    }
    let power = |places: i64| match places {
        0.. => Fraction::new(decimals::ten(places as u8), BigInt::from(1)),
        _ => Fraction::new(BigInt::from(1), decimals::ten(-places as u8)),
    };
    let exact = Fraction::new(BigInt::from(v), decimals::ten(scale));
    let moved = exact.times(&power(digits.unwrap_or(0)));
    let nearest = match name {
        "floor" => casts::whole_beside(&moved, -1),
        "ceil" => casts::whole_beside(&moved, 1),
        _ => casts::nearest(&moved),
    };
    let Some(nearest) = nearest else { return Value::Null };
    match digits {
        None => i64::try_from(nearest).map_or(Value::Null, Value::Int),
        Some(digits) => {
            let back = Fraction::new(BigInt::from(nearest), BigInt::from(1)).times(&power(-digits));
            let unscaled = back.times(&power(scale.into()));
            let (numerators, denominator) = Fraction::common(std::slice::from_ref(&unscaled));
            match numerators.first().map(|n| i128::try_from(n / denominator)) {
                Some(Ok(v)) if v.unsigned_abs() < 10u128.pow(38) => Value::Decimal(scale, Unscaled::new(v)),
                _ => Value::Null,
            }
        }
    }
}

/// How many times `unit` is nearest to `v`, half to even.
fn half_even(v: i128, unit: i128) -> i128 {
    let (below, rest) = (v.div_euclid(unit), v.rem_euclid(unit));
    match (rest * 2).cmp(&unit) {
        Ordering::Less => below,
        Ordering::Equal => below + below % 2 * below.signum(),
        Ordering::Greater => below + 1,
    }
}

/// The float's exact decimal expansion, cut by hand.
fn to_digits(v: f64, digits: i64) -> f64 {
    if !v.is_finite() {
        return v;
    }
    let exact = format!("{:.1100}", v.abs());
    let point = exact.find('.').unwrap_or(exact.len());
    let all: Vec<u8> = exact.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    let cut = point as i64 + digits;
    // One zero in front takes the carry; places left of the number are zeros too.
    let lead = (1 - cut).max(1) as usize;
    let mut kept: Vec<u8> = vec![0; lead];
    kept.extend(&all);
    let (kept, rest) = kept.split_at((lead as i64 + cut) as usize);
    let mut kept = kept.to_vec();
    let odd = kept.last().is_some_and(|digit| digit % 2 == 1);
    let beyond_half = rest.first().is_some_and(|digit| *digit > 5)
        || (rest.first() == Some(&5) && (odd || rest[1..].iter().any(|digit| *digit > 0)));
    if beyond_half {
        for digit in kept.iter_mut().rev() {
            *digit += 1;
            if *digit < 10 {
                break;
            }
            *digit = 0;
        }
    }
    let number: String = kept.into_iter().map(|digit| char::from(b'0' + digit)).collect();
    let nearest: f64 = format!("{number}e{}", -digits).parse().unwrap_or(v);
    canonical(if v < 0.0 { -nearest } else { nearest })
}

fn extreme(name: &str, values: Vec<Value>) -> Value {
    if values.iter().any(Value::is_null) {
        return Value::Null;
    }
    if values.iter().any(|v| matches!(v, Value::Float(v) if v.is_nan())) {
        return Value::Float(NAN);
    }
    let order = |a: &Value, b: &Value| match (a, b) {
        (Value::Int(a), Value::Int(b)) | (Value::Datetime(a), Value::Datetime(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (Value::Str(a), Value::Str(b)) => a.chars().cmp(b.chars()),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (a @ Value::Decimal(..), b) => decimals::compared(a, b).unwrap_or(Ordering::Equal),
        _ => Ordering::Equal,
    };
    let found =
        if name == "min_of" { values.into_iter().min_by(order) } else { values.into_iter().max_by(order) };
    found.unwrap_or_default()
}

fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Int(v) => Some(*v as f64),
        Value::Float(v) => Some(*v),
        _ => None,
    }
}

/// `base ** exponent`: of ints it is an int if the exponent is a literal that is not negative, else a float.
///
/// # Errors
/// None; as the others.
pub fn power(base: &Typed, exponent: &Typed, is_literal: bool) -> Result<Typed> {
    if let (Some(DataType::Int), Value::Int(exponent @ 0..), true) =
        (base.data_type, &exponent.value, is_literal)
    {
        let mut power = Some(1i64);
        if let Value::Int(v) = base.value {
            for _ in 0..(*exponent).min(70) {
                power = power.and_then(|p| p.checked_mul(v));
            }
            if *exponent > 70 && (v == 0 || v == 1 || v == -1) {
                power = Some(if v == -1 && exponent % 2 == 1 { -1 } else { v.abs() });
            }
        } else {
            power = None;
        }
        return Ok(Typed { value: power.map_or(Value::Null, Value::Int), data_type: Some(DataType::Int) });
    }
    let value = match (as_float(&base.value), as_float(&exponent.value)) {
        (Some(b), Some(e)) => {
            let raises =
                (b == 0.0 && e < 0.0) || (b < 0.0 && b.is_finite() && e.is_finite() && e.fract() != 0.0);
            if raises { Value::Null } else { Value::Float(canonical(libm::pow(b, e))) }
        }
        _ => Value::Null,
    };
    Ok(Typed { value, data_type: Some(DataType::Float) })
}

fn of_floats(name: &str, args: &[Value]) -> Result<Value> {
    if args.iter().any(Value::is_null) {
        return Ok(Value::Null);
    }
    let v: Vec<f64> = args.iter().filter_map(as_float).collect();
    let x = *v.first().ok_or_else(|| misuse(name, args))?;
    let domain = |fits: bool, f: fn(f64) -> f64| (fits || x.is_nan()).then(|| f(x));
    let value = match name {
        "sqrt" => domain(x >= 0.0, f64::sqrt),
        "cbrt" => Some(libm::cbrt(x)),
        "exp" => Some(libm::exp(x)),
        "expm1" => Some(libm::expm1(x)),
        "log" => domain(x > 0.0, libm::log),
        "log2" => domain(x > 0.0, libm::log2),
        "log10" => domain(x > 0.0, libm::log10),
        "log1p" => domain(x > -1.0, libm::log1p),
        "sin" => domain(x.is_finite(), libm::sin),
        "cos" => domain(x.is_finite(), libm::cos),
        "tan" => domain(x.is_finite(), libm::tan),
        "asin" => domain((-1.0..=1.0).contains(&x), libm::asin),
        "acos" => domain((-1.0..=1.0).contains(&x), libm::acos),
        "atan" => Some(libm::atan(x)),
        "tanh" => Some(libm::tanh(x)),
        "atan2" => Some(libm::atan2(x, v[1])),
        "haversine_km" => haversine(v[0], v[1], v[2], v[3]),
        _ => return Err(misuse(name, args)),
    };
    Ok(value.map_or(Value::Null, |v| Value::Float(canonical(v))))
}

fn haversine(lat1: f64, lon1: f64, lat2: f64, lon2: f64) -> Option<f64> {
    if [lat1, lon1, lat2, lon2].iter().any(|v| v.is_infinite()) || lat1.abs() > 90.0 || lat2.abs() > 90.0 {
        return None;
    }
    let degree = std::f64::consts::PI / 180.0;
    let (phi1, phi2) = (lat1 * degree, lat2 * degree);
    let sin_phi = libm::sin((phi2 - phi1) / 2.0);
    let sin_lambda = libm::sin((lon2 * degree - lon1 * degree) / 2.0);
    let h = sin_phi * sin_phi + libm::cos(phi1) * libm::cos(phi2) * sin_lambda * sin_lambda;
    let h = if h > 1.0 { 1.0 } else { h };
    Some(2.0 * 6371.0088 * libm::asin(libm::sqrt(h)))
}

fn all_of(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Bool(false), _) | (_, Value::Bool(false)) => Value::Bool(false),
        (Value::Bool(true), Value::Bool(true)) => Value::Bool(true),
        _ => Value::Null,
    }
}

fn member(mut values: Vec<Value>) -> Result<Value> {
    let value = values.remove(0);
    if value.is_null() {
        return Ok(Value::Null);
    }
    let mut found = Value::Bool(false);
    for one in values {
        match compared_values("eq", value.clone(), one)? {
            Value::Bool(true) => return Ok(Value::Bool(true)),
            Value::Null => found = Value::Null,
            _ => {}
        }
    }
    Ok(found)
}

fn chosen(args: &[Typed]) -> Result<Typed> {
    let last = args.len() - 1;
    let results: Vec<Typed> = (0..last).skip(1).step_by(2).chain([last]).map(|i| args[i].clone()).collect();
    let (values, data_type) = alike(&results)?;
    let condition = (0..last).step_by(2).position(|i| args[i].value == Value::Bool(true));
    Ok(Typed { value: values[condition.unwrap_or(values.len() - 1)].clone(), data_type })
}

fn text(name: &str, args: &[Value]) -> Result<Value> {
    if args.iter().any(Value::is_null) {
        return Ok(Value::Null);
    }
    let texts: Vec<&str> =
        args.iter().filter_map(|v| if let Value::Str(t) = v { Some(&**t) } else { None }).collect();
    let ints: Vec<i64> =
        args.iter().filter_map(|v| if let Value::Int(v) = v { Some(*v) } else { None }).collect();
    let it = *texts.first().ok_or_else(|| misuse(name, args))?;
    let made = match name {
        "len" => return Ok(Value::Int(it.chars().count() as i64)),
        "contains" => return Ok(Value::Bool(it.find(texts[1]).is_some())),
        "starts_with" => return Ok(Value::Bool(it.strip_prefix(texts[1]).is_some())),
        "ends_with" => return Ok(Value::Bool(it.strip_suffix(texts[1]).is_some())),
        "matches" => return Ok(Value::Bool(pattern(texts[1])?.find(it).is_some())),
        "lower" => it.to_lowercase(),
        "upper" => it.to_uppercase(),
        "strip" => it.trim_start().trim_end().to_owned(),
        "replace" => it.replace(texts[1], texts[2]),
        "concat" => texts.concat(),
        "slice" => {
            let letters: Vec<char> = it.chars().collect();
            let n = letters.len() as i128;
            let place = |p: i64| (if p < 0 { n + i128::from(p) } else { i128::from(p) }).clamp(0, n);
            let (start, stop) = (place(ints[0]), ints.get(1).map_or(n, |p| place(*p)));
            (start..stop.max(start)).map(|i| letters[i as usize]).collect()
        }
        "extract" => {
            let pattern = pattern(texts[1])?;
            let group = ints.first().map_or(if pattern.captures_len() > 1 { 1 } else { 0 }, |g| *g as usize);
            match pattern
                .captures_iter(it)
                .next()
                .and_then(|found| found.get(group).map(|m| m.as_str().to_owned()))
            {
                Some(part) => part,
                None => return Ok(Value::Null),
            }
        }
        _ => return Err(misuse(name, args)),
    };
    Ok(if made.len() > TEXT_BYTES_MAX { Value::Null } else { Value::Str(made.into()) })
}

fn pattern(text: &str) -> Result<Regex> {
    Regex::new(text).map_err(|error| Error::internal(error.to_string()))
}

fn bucket(args: &[Value]) -> Result<Value> {
    let bytes = match &args[0] {
        Value::Null => return Ok(Value::Null),
        Value::Int(v) | Value::Datetime(v) => v.to_le_bytes().to_vec(),
        Value::Bool(v) => vec![u8::from(*v)],
        Value::Date(day) => i64::from(*day).to_le_bytes().to_vec(),
        Value::Bytes(bytes) => bytes.to_vec(),
        Value::Decimal(..) => {
            let text = args[0].to_string();
            let short =
                if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
            short.as_bytes().to_vec()
        }
        Value::Str(text) => text.as_bytes().to_vec(),
        other => return Err(misuse("hash_bucket", std::slice::from_ref(other))),
    };
    let Value::Int(buckets) = args[1] else { return Err(misuse("hash_bucket", args)) };
    // In 128 bits, cut to 64 after each step.
    let cut = |v: u128| v & u128::from(u64::MAX);
    let mut hash: u128 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = cut((hash ^ u128::from(byte)) * 0x0100_0000_01b3);
    }
    hash = cut((hash ^ (hash >> 30)) * 0xbf58_476d_1ce4_e5b9);
    hash = cut((hash ^ (hash >> 27)) * 0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    Ok(Value::Int((hash % buckets as u128) as i64))
}
