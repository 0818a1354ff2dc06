//! The registry of functions: everything that an expression can call and that is no operator.
//!
//! A family is a file with a list of its members; [`all`] is the list of lists. A member says how Python writes it, how
//! many arguments it takes, and how it is compiled: it checks the types of its arguments and gives a node, mostly a
//! [`Kernel`] over them. A null argument gives null unless a member says otherwise.

mod cast;
mod cast_values;
mod choice;
mod clock;
mod distance;
mod elementary;
mod hash;
mod json;
mod list;
mod membership;
mod nulls;
mod numbers;
mod pattern;
mod rounding;
mod split;
mod text;
mod vector;

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::NullBuffer;

use super::ast::Expr;
use super::ast::Operator;
use super::evaluate::Operand;
use super::typing::{Node, as_type, unified, widened};
use crate::error::{Error, Result, nearest};
use crate::value::{DataType, Value, cell, column};

/// The most arguments of a function that takes any number.
pub const ARGUMENTS_MAX: usize = 10_000;

/// How Python writes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `first.name(rest)`
    Method,
    /// `name(all)`
    Free,
    /// `first.name([rest])`
    Members,
    /// `a ** b`
    Power,
    /// `when(a).then(b).otherwise(c)`
    When,
}

/// A function of the language.
pub struct Function {
    /// Its name, in documents and in Python.
    pub name: &'static str,
    /// How Python writes a call of it.
    pub form: Form,
    /// How many arguments it takes at least and at most.
    pub count: (usize, usize),
    compile: fn(Call<'_>) -> Result<Node>,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Every function, family by family.
pub fn all() -> impl Iterator<Item = &'static Function> {
    let families: [&'static [Function]; 16] = [
        numbers::ALL,
        rounding::ALL,
        elementary::ALL,
        nulls::ALL,
        membership::ALL,
        choice::ALL,
        cast::ALL,
        text::ALL,
        list::ALL,
        split::ALL,
        pattern::ALL,
        clock::ALL,
        hash::ALL,
        distance::ALL,
        vector::ALL,
        json::ALL,
    ];
    families.into_iter().flatten()
}

/// The function called `name`.
pub fn find(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name == name)
}

/// The refusal of a name that nothing has.
pub(super) fn unknown(name: &str, expr: &Expr) -> Error {
    let names = || all().map(|f| f.name).chain(Operator::ALL.map(Operator::name));
    let hint = match nearest(name, names()).as_slice() {
        [] => format!("the functions are {}", names().collect::<Vec<_>>().join(", ")),
        near => format!("did you mean {}?", near.join(", ")),
    };
    Error::invalid_definition(format!("no function named \"{name}\" in {expr}; {hint}"))
}

/// The refusal of a wrong number of arguments.
pub(super) fn wrong_count(name: &str, (least, most): (usize, usize), given: usize) -> Error {
    let takes = match (least, most) {
        (least, most) if least == most => least.to_string(),
        (least, ARGUMENTS_MAX) => format!("{least} to {ARGUMENTS_MAX}"),
        (least, most) => format!("{least} to {most}"),
    };
    let plural = if takes == "1" { "" } else { "s" };
    let were = if given == 1 { "was" } else { "were" };
    let were = if least == most { "were" } else { were };
    Error::invalid_definition(format!("\"{name}\" takes {takes} argument{plural}, and {given} {were} given"))
}

impl Function {
    const fn method(
        name: &'static str,
        count: (usize, usize),
        compile: fn(Call<'_>) -> Result<Node>,
    ) -> Self {
        Function { name, form: Form::Method, count, compile }
    }

    const fn free(name: &'static str, count: (usize, usize), compile: fn(Call<'_>) -> Result<Node>) -> Self {
        Function { name, form: Form::Free, count, compile }
    }

    /// Refuses a number of arguments that it does not take.
    pub(super) fn check_count(&self, given: usize) -> Result<()> {
        if given < self.count.0 || given > self.count.1 {
            return Err(wrong_count(self.name, self.count, given));
        }
        Ok(())
    }

    /// Checks the types of its arguments, as many as it takes, and makes a node of them.
    pub(super) fn compile(&'static self, expr: &Expr, args: Vec<Node>) -> Result<Node> {
        (self.compile)(Call { function: self, expr, args })
    }
}

/// What computes a function: columns and constants to a column, of one row if all of them are constants.
#[derive(Clone)]
pub(super) struct Kernel(Arc<Compute>);

/// Operands and the number of rows to a column.
type Compute = dyn Fn(&[Operand], usize) -> Result<ArrayRef> + Send + Sync;

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kernel")
    }
}

impl Kernel {
    fn new(compute: impl Fn(&[Operand], usize) -> Result<ArrayRef> + Send + Sync + 'static) -> Kernel {
        Kernel(Arc::new(compute))
    }

    /// What makes a column of `to` of one of `from`, value by value; `None` is null.
    fn of_values(
        from: DataType,
        to: DataType,
        f: impl Fn(Value) -> Option<Value> + Send + Sync + 'static,
    ) -> Kernel {
        Kernel::new(move |args, rows| {
            let cells = Cells::of(args, 0, from)?;
            let made = |row: usize| match cell(from, &cells.array, cells.row(row)) {
                Value::Null => Value::Null,
                value => f(value).unwrap_or_default(),
            };
            Ok(column(to, &(0..rows).map(made).collect::<Vec<_>>()))
        })
    }

    /// Computes the rows of a batch.
    pub(super) fn run(&self, args: &[Operand], rows: usize) -> Result<ArrayRef> {
        (self.0)(args, rows)
    }
}

/// The rows where any operand is null.
fn nulls_of(args: &[Operand]) -> Option<NullBuffer> {
    args.iter().fold(None, |nulls, arg| NullBuffer::union(nulls.as_ref(), arg.nulls()))
}

/// The operand at `index`, which the compiled function has given.
fn arg(args: &[Operand], index: usize) -> Result<&Operand> {
    args.get(index).ok_or_else(|| Error::internal("a function was evaluated without an argument"))
}

/// The values of an operand of any type: those of a column, or a constant, which every row has.
struct Cells {
    array: ArrayRef,
    is_one: bool,
}

impl Cells {
    /// Those of the operand at `index`, of type `data_type`.
    fn of(args: &[Operand], index: usize, data_type: DataType) -> Result<Cells> {
        let operand = arg(args, index)?;
        let is_one = matches!(operand, Operand::Scalar(_));
        Ok(Cells { array: operand.array(data_type, 1), is_one })
    }

    /// The row of the array that a row of the batch has.
    fn row(&self, row: usize) -> usize {
        if self.is_one { 0 } else { row }
    }
}

/// A call whose types are to be checked.
struct Call<'a> {
    function: &'static Function,
    /// The call itself, for messages.
    expr: &'a Expr,
    args: Vec<Node>,
}

impl Call<'_> {
    /// The refusal of the arguments' types.
    fn refuse(&self, expected: &str) -> Error {
        let types: Vec<_> =
            self.args.iter().take(4).map(|arg| arg.data_type().map_or("null", DataType::name)).collect();
        Error::invalid_definition(format!(
            "\"{}\" cannot take {} in {}: {expected}",
            self.function.name,
            types.join(" and "),
            self.expr
        ))
    }

    /// The refusal of a constant.
    fn refuse_constant(&self, expected: &str, got: impl fmt::Display) -> Error {
        Error::invalid_definition(format!(
            "\"{}\" in {}: expected {expected}, got {got}",
            self.function.name, self.expr
        ))
    }

    fn type_of(&self, index: usize) -> Option<DataType> {
        self.args.get(index).and_then(Node::data_type)
    }

    /// A constant text, if one is given.
    fn text_constant(&self, index: usize, what: &str) -> Result<Option<Arc<str>>> {
        match self.args.get(index) {
            None => Ok(None),
            Some(Node::Scalar { value: Value::Str(text), .. }) => Ok(Some(text.clone())),
            Some(other) => Err(self.refuse_constant(what, shown(other))),
        }
    }

    /// A constant int within `range`, if one is given.
    fn int_constant(
        &self,
        index: usize,
        range: std::ops::RangeInclusive<i64>,
        what: &str,
    ) -> Result<Option<i64>> {
        match self.args.get(index) {
            None => Ok(None),
            Some(Node::Scalar { value: Value::Int(v), .. }) if range.contains(v) => Ok(Some(*v)),
            Some(other) => Err(self.refuse_constant(what, shown(other))),
        }
    }

    /// Refuses the arguments at `indexes` unless they are of `wanted` or null literals.
    fn require(&self, indexes: &[usize], wanted: DataType, expected: &str) -> Result<()> {
        let is_it = |index: &usize| self.type_of(*index).is_none_or(|given| given == wanted);
        if indexes.iter().all(is_it) { Ok(()) } else { Err(self.refuse(expected)) }
    }

    /// All arguments as floats.
    fn floats(mut self) -> Result<Self> {
        let is_number = |t: Option<DataType>| matches!(t, None | Some(DataType::Int | DataType::Float));
        if !self.args.iter().all(|arg| is_number(arg.data_type())) {
            return Err(self.refuse(if self.args.len() == 1 {
                "it takes a number"
            } else {
                "it takes numbers"
            }));
        }
        self.args = self.args.into_iter().map(|arg| widened(arg, DataType::Float)).collect();
        Ok(self)
    }

    /// The type that the arguments at the places wanted have in common, which they are brought to. A constant beside
    /// another type that it can say is read as one.
    fn unify(&mut self, wanted: impl Fn(usize) -> bool) -> Result<Option<DataType>> {
        let places: Vec<usize> = (0..self.args.len()).filter(|i| wanted(*i)).collect();
        let is_written = |t: &DataType| {
            !matches!(t, DataType::Int | DataType::Float | DataType::Str | DataType::Bool | DataType::Json)
        };
        let beside = places.iter().filter_map(|&i| self.args[i].data_type()).find(is_written);
        for &place in &places {
            let node = std::mem::replace(&mut self.args[place], Node::null(None));
            self.args[place] = as_type(node, beside)?;
        }
        let mut common = None;
        for &place in &places {
            common = unified(common, self.args[place].data_type())
                .ok_or_else(|| self.refuse("its values need one type"))?;
        }
        if let Some(data_type) = common {
            for &place in &places {
                let node = std::mem::replace(&mut self.args[place], Node::null(None));
                self.args[place] = widened(node, data_type);
            }
        }
        Ok(common)
    }

    /// A node that is null where any of the first `operands` arguments is; the others are constants that the kernel
    /// knows already.
    fn strict(mut self, operands: usize, data_type: DataType, kernel: Kernel) -> Node {
        self.args.truncate(operands);
        if self.args.iter().any(Node::is_null_constant) {
            return Node::null(Some(data_type));
        }
        Node::Function { kernel, args: self.args, data_type }
    }

    /// The first argument.
    fn first(mut self) -> Node {
        if self.args.is_empty() { Node::null(None) } else { self.args.swap_remove(0) }
    }
}

/// An argument that should be a constant, for messages.
fn shown(node: &Node) -> String {
    match (node.constant(), node.data_type()) {
        (Some(value), _) => value.to_string(),
        (None, Some(data_type)) => format!("an expression of type {data_type}"),
        (None, None) => "null".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_had_once_and_found() {
        let mut names: Vec<_> = all().map(|f| f.name).chain(Operator::ALL.map(Operator::name)).collect();
        for function in all() {
            assert_eq!(find(function.name).map(|f| f.name), Some(function.name));
            assert!(function.count.0 <= function.count.1 && function.count.0 > 0, "{function:?}");
        }
        names.sort_unstable();
        let known = names.len();
        names.dedup();
        assert_eq!(names.len(), known);
    }
}
