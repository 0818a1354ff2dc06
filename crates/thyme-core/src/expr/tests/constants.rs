//! Constants: not expanded, and worth what a column of them is.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use proptest::prelude::*;

use super::{columns, parse};
use crate::expr::{Compiled, Expr, Literal, LiteralValue};
use crate::value::DataType;

proptest! {
    /// A constant on either side gives what a column of that constant gives.
    #[test]
    fn constants_and_columns_agree(
        ints in proptest::collection::vec(proptest::option::of(any::<i64>()), 1..150),
        floats in proptest::collection::vec(any::<f64>(), 150),
        i in any::<i64>(),
        f in any::<f64>(),
    ) {
        let rows = ints.len();
        let floats: Vec<f64> = floats.into_iter().take(rows).map(crate::value::canonical).collect();
        let batch = RecordBatch::try_from_iter(vec![
            ("i", Arc::new(Int64Array::from(ints)) as ArrayRef),
            ("x", Arc::new(Float64Array::from(floats)) as ArrayRef),
            ("j", Arc::new(Int64Array::from_value(i, rows)) as ArrayRef),
            ("y", Arc::new(Float64Array::from_value(crate::value::canonical(f), rows)) as ArrayRef),
        ]).unwrap();
        let literal_j = serde_json::from_value::<Expr>(serde_json::json!({"lit": i, "type": "int"})).unwrap();
        let literal_y = Expr::Literal(Literal { lit: LiteralValue::Float(f), data_type: Some(DataType::Float) });
        for op in ["add", "sub", "mul", "div", "floor_div", "mod", "eq", "ne", "lt", "le", "gt", "ge", "fill_null"] {
            for column in ["i", "x"] {
                for (constant, literal) in [("j", &literal_j), ("y", &literal_y)] {
                    for text in [format!("({op} {column} {constant})"), format!("({op} {constant} {column})")] {
                        let by_column = parse(&text);
                        let mut by_literal = by_column.clone();
                        if let Expr::Call { args, .. } = &mut by_literal {
                            let at = args.iter().position(|a| matches!(a, Expr::Column { col } if col == constant)).unwrap();
                            args[at] = literal.clone();
                        }
                        let a = Compiled::new(&by_column, &columns()).unwrap().evaluate(&batch).unwrap();
                        let b = Compiled::new(&by_literal, &columns()).unwrap().evaluate(&batch).unwrap();
                        prop_assert_eq!(words(&a), words(&b), "{}", text);
                    }
                }
            }
        }
    }
}

/// Values as bits, with nulls.
fn words(array: &ArrayRef) -> Vec<Option<u64>> {
    if let Some(floats) = array.as_primitive_opt::<Float64Type>() {
        floats.iter().map(|v| v.map(f64::to_bits)).collect()
    } else if let Some(ints) = array.as_primitive_opt::<Int64Type>() {
        ints.iter().map(|v| v.map(|v| v as u64)).collect()
    } else {
        array.as_boolean().iter().map(|v| v.map(u64::from)).collect()
    }
}
