//! How alike two vectors are.

use thyme_core::value::canonical;
use thyme_core::{DataType, Result, Value};

use super::{alike, misuse};
use crate::expression::Typed;

pub(super) fn compared(name: &str, args: &[Typed]) -> Result<Value> {
    if args.iter().all(|arg| arg.data_type.is_none_or(|t| t == DataType::Json)) {
        return Ok(Value::Null);
    }
    let (values, _) = alike(args)?;
    let [Value::Vector(a), Value::Vector(b)] = values.as_slice() else { return Ok(Value::Null) };
    let products = |a: &[f64], b: &[f64]| sum(a.iter().zip(b).map(|(a, b)| a * b).collect());
    let value = match name {
        "dot" => Some(products(a, b)),
        "l2" => Some(sum(a.iter().zip(b.iter()).map(|(a, b)| (a - b) * (a - b)).collect()).sqrt()),
        "cosine" => {
            let lengths = (products(a, a) * products(b, b)).sqrt();
            let cosine = products(a, b) / lengths;
            match lengths {
                0.0 => None,
                _ if cosine > 1.0 => Some(1.0),
                _ if cosine < -1.0 => Some(-1.0),
                _ => Some(cosine),
            }
        }
        _ => return Err(misuse(name, &values)),
    };
    Ok(value.map_or(Value::Null, |v| Value::Float(canonical(v))))
}

/// Every eighth term from the first, from the second, and so on, and these eight sums two by two.
fn sum(terms: Vec<f64>) -> f64 {
    let every_eighth = |first: usize| terms.iter().skip(first).step_by(8).fold(0.0, |sum, term| sum + term);
    let pair = |first: usize| every_eighth(first) + every_eighth(first + 4);
    (pair(0) + pair(2)) + (pair(1) + pair(3))
}
