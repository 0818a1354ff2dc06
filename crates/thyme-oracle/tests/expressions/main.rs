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
use thyme_core::value::{NAN, canonical};
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
        other => unreachable!("no row has a field of type {other}"),
    };
    prop_oneof![1 => Just(Value::Null), 4 => known].boxed()
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
    let names: Vec<String> = schema().fields.into_iter().map(|f| f.name).collect();
    let leaf = prop_oneof![
        2 => prop::sample::select(names).prop_map(|col| Expr::Column { col }),
        1 => literal(),
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
    let column = |index: usize, field: &Field| -> ArrayRef {
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
            other => unreachable!("no row has a field of type {other}"),
        }
    };
    let columns = schema.fields.iter().enumerate().map(|(index, field)| column(index, field)).collect();
    RecordBatch::try_new(schema.arrow(), columns).unwrap()
}

fn cell(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) || *array.data_type() == arrow::datatypes::DataType::Null {
        return Value::Null;
    }
    match array.data_type() {
        arrow::datatypes::DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        arrow::datatypes::DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        arrow::datatypes::DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        arrow::datatypes::DataType::Utf8 => Value::Str(array.as_string::<i32>().value(row).into()),
        _ => Value::Datetime(array.as_primitive::<TimestampMicrosecondType>().value(row)),
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
        prop_assert_eq!(&one.value, &cell(&whole, number), "{} of row {:?}", expr, row);
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
