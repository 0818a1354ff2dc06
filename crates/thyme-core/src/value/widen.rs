//! Values where a wider type is declared.

use std::sync::Arc;

use super::decimal::rescaled;
use super::json::Json;
use super::typed::untyped;
use super::{DataType, Scalar, Unscaled, Value};

/// `value` as one of `declared`, another type than its own.
pub(super) fn widened(value: Value, declared: DataType) -> Option<Value> {
    match (value, declared) {
        (Value::List(_, items), DataType::List(item)) => items
            .iter()
            .map(|v| v.clone().widen(item.into()))
            .collect::<Option<_>>()
            .map(|i| Value::List(item, i)),
        (Value::Map(_, entries), DataType::Map(item)) => entries
            .iter()
            .map(|(k, v)| Some((k.clone(), v.clone().widen(item.into())?)))
            .collect::<Option<_>>()
            .map(|entries| Value::Map(item, entries)),
        (Value::List(_, items), DataType::Vector(length)) if items.len() == length as usize => {
            items.iter().map(float).collect::<Option<_>>().map(Value::Vector)
        }
        (Value::Vector(v), DataType::List(Scalar::Float)) => {
            Some(Value::List(Scalar::Float, v.iter().map(|v| Value::Float(*v)).collect::<Arc<[_]>>()))
        }
        (value, DataType::Json) => as_json(&value).map(|json| Value::Json(json.canonical_text())),
        (Value::Decimal(from, v), DataType::Decimal(to)) => {
            rescaled(v.get(), from, to).map(|v| Value::Decimal(to, Unscaled::new(v)))
        }
        (Value::Int(v), DataType::Decimal(scale)) => {
            rescaled(v.into(), 0, scale).map(|v| Value::Decimal(scale, Unscaled::new(v)))
        }
        _ => None,
    }
}

impl Value {
    /// The list of some plain values: of their type, ints beside floats as floats. An empty one is of ints, which widens
    /// to any other. `None` for values of several types, and for nested ones.
    pub fn of_list(items: &[Value]) -> Option<Value> {
        let item = common(items.iter())?;
        let items = items.iter().map(|v| v.clone().widen(item.into())).collect::<Option<_>>()?;
        Some(Value::List(item, items))
    }

    /// As [`Value::of_list`], of a map.
    pub fn of_map(entries: Vec<(Arc<str>, Value)>) -> Option<Value> {
        let item = common(entries.iter().map(|(_, v)| v))?;
        let widened = |(k, v): (Arc<str>, Value)| Some((k, v.widen(item.into())?));
        Some(Value::map(item, entries.into_iter().map(widened).collect::<Option<Vec<_>>>()?))
    }
}

/// The plain type that all values have a place in.
fn common<'v>(values: impl Iterator<Item = &'v Value>) -> Option<Scalar> {
    let mut common = None;
    for data_type in values.filter_map(Value::data_type) {
        let item = data_type.scalar()?;
        common = Some(match (common, item) {
            (None, item) => item,
            (Some(Scalar::Int), Scalar::Float) | (Some(Scalar::Float), Scalar::Int) => Scalar::Float,
            (Some(Scalar::Decimal(a)), Scalar::Decimal(b)) => Scalar::Decimal(a.max(b)),
            (Some(known), item) if known == item => item,
            _ => return None,
        });
    }
    Some(common.unwrap_or(Scalar::Int))
}

fn as_json(value: &Value) -> Option<Json> {
    let mut finite = true;
    let json = untyped(value, "", &mut |_, _| finite = false);
    finite.then_some(json)
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Int(v) => Some(*v as f64),
        Value::Float(v) => Some(*v),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ints_widen_inside_lists_and_maps() {
        let list = |items: &[Value]| Value::List(Scalar::Int, items.into());
        let (one, two) = (Value::Int(1), Value::Int(2));
        assert_eq!(
            list(&[one.clone(), Value::Null]).widen(DataType::List(Scalar::Float)),
            Some(Value::List(Scalar::Float, [Value::Float(1.0), Value::Null].into()))
        );
        let vector = list(&[one.clone(), two]).widen(DataType::Vector(2));
        assert_eq!(vector, Some(Value::Vector([1.0, 2.0].into())));
        assert_eq!(list(std::slice::from_ref(&one)).widen(DataType::Vector(2)), None);
        assert_eq!(list(&[Value::Null]).widen(DataType::Vector(1)), None);
        assert_eq!(list(&[]).widen(DataType::List(Scalar::Str)), Some(Value::List(Scalar::Str, [].into())));
        assert_eq!(list(std::slice::from_ref(&one)).widen(DataType::List(Scalar::Str)), None);
        let map = Value::map(Scalar::Int, [("b".into(), one.clone()), ("a".into(), Value::Null)]);
        assert_eq!(map.clone().widen(DataType::Json), Some(Value::Json("{\"a\":null,\"b\":1}".into())));
        assert!(map.widen(DataType::Map(Scalar::Float)).is_some());
        let floats = Value::List(Scalar::Float, [Value::Float(1.0), Value::Float(0.5)].into());
        assert_eq!(Value::of_list(&[one.clone(), Value::Float(0.5)]), Some(floats));
        assert_eq!(Value::of_list(&[one.clone(), Value::Bool(true)]), None);
        assert_eq!(Value::Float(f64::INFINITY).widen(DataType::Json), None);
    }
}
