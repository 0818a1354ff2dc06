//! Expressions over whole batches and over one row at a time have the same bits.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;
use thyme_core::expr::{Compiled, Expr, Literal, LiteralValue, Operator};
use thyme_core::value::{NAN, Scalar, Unscaled, canonical, cell, column};
use thyme_core::{DataType, Field, Schema, Value};
use thyme_oracle::expression::Typed;
use thyme_oracle::{Columns, evaluate};

fn schema() -> Schema {
    let columns = [
        ("i", DataType::Int),
        ("j", DataType::Int),
        ("x", DataType::Float),
        ("y", DataType::Float),
        ("s", DataType::Str),
        ("b", DataType::Bool),
        ("at", DataType::Datetime),
        ("is", DataType::List(Scalar::Int)),
        ("xs", DataType::List(Scalar::Float)),
        ("ss", DataType::List(Scalar::Str)),
        ("ts", DataType::List(Scalar::Datetime)),
        ("ds", DataType::List(Scalar::Decimal(2))),
        ("im", DataType::Map(Scalar::Int)),
        ("v", DataType::Vector(2)),
        ("w", DataType::Vector(2)),
        ("note", DataType::Json),
        ("amount", DataType::Decimal(2)),
        ("rate", DataType::Decimal(4)),
        ("day", DataType::Date),
        ("raw", DataType::Bytes),
    ];
    let field = |(name, data_type): (&str, DataType)| Field {
        name: name.to_owned(),
        data_type,
        optional: true,
        role: Default::default(),
        default: None,
    };
    Schema { fields: columns.map(field).to_vec() }
}

fn int() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => -7..8i64,
        1 => prop::sample::select(vec![i64::MIN, i64::MAX, 1 << 53, (1 << 53) + 1, -(1 << 62)]),
        1 => any::<i64>(),
    ]
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => (-7..8i64).prop_map(|v| v as f64 * 0.5),
        1 => prop::sample::select(vec![NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, 5e-324, 9.3e18, -0.1]),
        1 => any::<f64>(),
    ]
    .prop_map(canonical)
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "b", "é", "😀", "\u{ffff}"]).prop_map(str::to_owned)
}

fn value(data_type: DataType) -> BoxedStrategy<Value> {
    let known = match data_type {
        DataType::Int => int().prop_map(Value::Int).boxed(),
        DataType::Float => float().prop_map(Value::Float).boxed(),
        DataType::Str => text().prop_map(|t| Value::Str(t.into())).boxed(),
        DataType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        DataType::Datetime => (-2..3i64).prop_map(|v| Value::Datetime(v * 1_000_000)).boxed(),
        DataType::Decimal(scale) => decimal().prop_map(move |v| Value::Decimal(scale, v)).boxed(),
        DataType::Date => {
            prop::sample::select(vec![-719_162, -1, 0, 1, 20_527, 2_932_896]).prop_map(Value::Date).boxed()
        }
        DataType::Bytes => prop::sample::select(vec![&b""[..], b"a", b"\xff", b"ab"])
            .prop_map(|v| Value::Bytes(v.into()))
            .boxed(),
        DataType::Json => prop::sample::select(vec![
            "[]",
            "{}",
            "1",
            "-0.5",
            "\"a\"",
            "[1,null,3]",
            "{\"a\":{\"b\":[7]},\"b\":\"é\"}",
            "{\"a\":[0.5,1e300],\"a b\":{\"b\":true},\"b\":[1]}",
        ])
        .prop_map(|v| Value::Json(v.into()))
        .boxed(),
        DataType::List(item) => prop::collection::vec(value(item.into()), 0..4)
            .prop_map(move |items| Value::List(item, items.into()))
            .boxed(),
        DataType::Map(item) => prop::collection::vec((text(), value(item.into())), 0..3)
            .prop_map(move |entries| Value::map(item, entries.into_iter().map(|(k, v)| (k.into(), v))))
            .boxed(),
        DataType::Vector(length) => prop::collection::vec(float(), length as usize)
            .prop_map(|floats| Value::Vector(floats.into()))
            .boxed(),
    };
    prop_oneof![1 => Just(Value::Null), 4 => known].boxed()
}

/// Small integers, and some near the limit of 38 digits.
fn decimal() -> impl Strategy<Value = Unscaled> {
    let limit = 10i128.pow(38) - 1;
    prop_oneof![
        4 => (-300..300i64).prop_map(i128::from),
        1 => prop::sample::select(vec![limit, -limit, limit / 2, 50, -150, 10i128.pow(20)]),
        1 => -limit..=limit,
    ]
    .prop_map(Unscaled::new)
}

fn literal() -> impl Strategy<Value = Expr> {
    let lit = |lit, data_type| Expr::Literal(Literal { lit, data_type });
    prop_oneof![
        1 => Just(lit(LiteralValue::Null, None)),
        3 => int().prop_map(move |v| lit(LiteralValue::Int(v), Some(DataType::Int))),
        1 => int().prop_map(move |v| lit(LiteralValue::Int(v), Some(DataType::Float))),
        3 => float().prop_filter("JSON says it otherwise", |v| v.is_finite())
            .prop_map(move |v| lit(LiteralValue::Float(v), Some(DataType::Float))),
        1 => prop::sample::select(vec!["NaN", "Infinity", "-Infinity"])
            .prop_map(move |v| lit(LiteralValue::Str(v.to_owned()), Some(DataType::Float))),
        1 => text().prop_map(move |v| lit(LiteralValue::Str(v), Some(DataType::Str))),
        1 => Just(lit(LiteralValue::Str("1970-01-01T00:00:01Z".to_owned()), Some(DataType::Str))),
        1 => any::<bool>().prop_map(move |v| lit(LiteralValue::Bool(v), Some(DataType::Bool))),
    ]
}

fn expression() -> impl Strategy<Value = Expr> {
    let (plain, others): (Vec<Field>, Vec<Field>) =
        schema().fields.into_iter().partition(|f| f.data_type.is_plain());
    let column = |fields: Vec<Field>| {
        let names: Vec<String> = fields.into_iter().map(|f| f.name).collect();
        prop::sample::select(names).prop_map(|col| Expr::Column { col })
    };
    // Few operators take what is not plain.
    let leaf = prop_oneof![
        18 => column(plain),
        2 => column(others),
        10 => literal(),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        (prop::sample::select(Operator::ALL.to_vec()), prop::collection::vec(inner, 2)).prop_map(
            |(op, mut args)| {
                args.truncate(op.arity());
                Expr::Call { op: op.into(), args }
            },
        )
    })
}

/// An expression that a commit takes: most random ones have a fault in their types.
fn valid() -> impl Strategy<Value = Expr> {
    let columns: Vec<_> = schema().fields.iter().map(|f| (f.name.clone(), f.data_type)).collect();
    expression().prop_filter("of no type", move |expr| Compiled::new(expr, &columns).is_ok())
}

fn rows() -> impl Strategy<Value = Vec<Vec<Value>>> {
    let row: Vec<BoxedStrategy<Value>> = schema().fields.iter().map(|f| value(f.data_type)).collect();
    prop::collection::vec(row, 1..6)
}

fn batch(rows: &[Vec<Value>]) -> RecordBatch {
    let schema = schema();
    let made = |index: usize, field: &Field| -> ArrayRef {
        let of = |row: &Vec<Value>| row[index].clone();
        let ints = rows.iter().map(of).map(|v| match v {
            Value::Int(v) | Value::Datetime(v) => Some(v),
            _ => None,
        });
        match field.data_type {
            DataType::Int => Arc::new(Int64Array::from_iter(ints)),
            DataType::Datetime => Arc::new(TimestampMicrosecondArray::from_iter(ints).with_timezone("UTC")),
            DataType::Float => Arc::new(Float64Array::from_iter(rows.iter().map(of).map(|v| match v {
                Value::Float(v) => Some(v),
                _ => None,
            }))),
            DataType::Bool => Arc::new(BooleanArray::from_iter(rows.iter().map(of).map(|v| match v {
                Value::Bool(v) => Some(v),
                _ => None,
            }))),
            DataType::Str => Arc::new(StringArray::from_iter(rows.iter().map(of).map(|v| match v {
                Value::Str(v) => Some(v.to_string()),
                _ => None,
            }))),
            other => column(other, &rows.iter().map(of).collect::<Vec<_>>()),
        }
    };
    let columns = schema.fields.iter().enumerate().map(|(index, field)| made(index, field)).collect();
    RecordBatch::try_new(schema.arrow(), columns).unwrap()
}

fn value_at(array: &ArrayRef, row: usize, data_type: Option<DataType>) -> Value {
    if array.is_null(row) || *array.data_type() == arrow::datatypes::DataType::Null {
        return Value::Null;
    }
    match array.data_type() {
        arrow::datatypes::DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        arrow::datatypes::DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        arrow::datatypes::DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        arrow::datatypes::DataType::Utf8 if data_type == Some(DataType::Str) => {
            Value::Str(array.as_string::<i32>().value(row).into())
        }
        arrow::datatypes::DataType::Timestamp(..) => {
            Value::Datetime(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        _ => cell(data_type.unwrap(), array, row),
    }
}

/// The same bits and types from a batch and from each of its rows.
fn agree(expr: &Expr, rows: &[Vec<Value>]) -> Result<(), TestCaseError> {
    let fields = schema().fields;
    let columns: Vec<_> = fields.iter().map(|f| (f.name.clone(), f.data_type)).collect();
    let compiled = Compiled::new(expr, &columns).unwrap();
    let whole = compiled.evaluate(&batch(rows)).unwrap();
    for (number, row) in rows.iter().enumerate() {
        let mut columns = Columns::default();
        for (field, value) in fields.iter().zip(row) {
            let data_type = Some(field.data_type);
            columns.set(field.name.as_str(), Typed { value: value.clone(), data_type });
        }
        let one = evaluate(expr, &columns).unwrap();
        prop_assert_eq!(
            &one.value,
            &value_at(&whole, number, compiled.data_type()),
            "{} of row {:?}",
            expr,
            row
        );
        prop_assert_eq!(one.data_type, compiled.data_type(), "the type of {}", expr);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000, max_global_rejects: 1 << 20, max_local_rejects: 1 << 20, ..ProptestConfig::default()
    })]

    #[test]
    fn a_batch_and_a_row_at_a_time_give_the_same(expr in valid(), rows in rows()) {
        agree(&expr, &rows)?;
    }
}
