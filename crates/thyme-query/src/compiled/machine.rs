//! Runs a program over one row at a time.

use std::sync::Arc;

use thyme_core::{EventTime, Value};

use super::object::{Object, Row};
use super::program::{Instruction, Program};
use super::{Computed, Deferred, arithmetic, builtins, compare, shape, time};
use crate::column::ColumnBuffer;
use crate::extractor::LookupContext;

/// A program with what it reads. Its stack is kept from row to row.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    program: &'a Program,
    inputs: &'a [&'a ColumnBuffer],
    context: Option<&'a LookupContext>,
    locals: Vec<Option<Object>>,
    stack: Vec<Object>,
}

/// What comes after a step.
enum Next {
    Step,
    Jump(usize),
    Return,
}

impl<'a> Machine<'a> {
    pub fn new(
        program: &'a Program,
        inputs: &'a [&'a ColumnBuffer],
        context: Option<&'a LookupContext>,
    ) -> Machine<'a> {
        Machine { program, inputs, context, locals: vec![None; program.locals], stack: Vec::with_capacity(8) }
    }

    /// Adds the outputs of a row to `outputs`, a list each; or nothing, if it is left to CPython.
    pub fn run_into(&mut self, row: usize, at: EventTime, outputs: &mut [Vec<Value>]) -> Computed<()> {
        // CPython makes an object of everything that it is given, used or not.
        let moment = Object::given(Value::Datetime(at.0))?;
        self.locals.fill(None);
        self.stack.clear();
        for input in self.inputs {
            if input.data_type() == thyme_core::DataType::Datetime {
                Object::given(input.get(row))?;
            }
        }
        let program = self.program;
        let mut place = 0;
        while let Some(instruction) = program.code.get(place) {
            place = match self.step(instruction, row, &moment)? {
                Next::Step => place + 1,
                Next::Jump(to) => to,
                Next::Return => break,
            };
        }
        shape::add(self.pop()?, &program.outputs, outputs)
    }

    /// One instruction over these operands, which neither jumps nor has to do with locals; gives what it leaves.
    pub fn apply(
        &mut self,
        instruction: &Instruction,
        operands: impl Iterator<Item = Object>,
        row: usize,
    ) -> Computed<&mut Vec<Object>> {
        self.stack.clear();
        self.stack.extend(operands);
        self.step(instruction, row, &Object::None)?;
        Ok(&mut self.stack)
    }

    fn pop(&mut self) -> Computed<Object> {
        self.stack.pop().ok_or(Deferred)
    }

    /// The last `count` of the stack.
    fn pop_many(&mut self, count: usize) -> Computed<Vec<Object>> {
        let from = self.stack.len().checked_sub(count).ok_or(Deferred)?;
        Ok(self.stack.split_off(from))
    }

    fn push(&mut self, object: Object) -> Next {
        self.stack.push(object);
        Next::Step
    }

    fn step(&mut self, instruction: &Instruction, row: usize, moment: &Object) -> Computed<Next> {
        use Instruction as I;
        Ok(match instruction {
            I::Constant(index) => {
                let constant = self.program.constants.get(*index).ok_or(Deferred)?.clone();
                self.push(constant)
            }
            I::Input(index) => {
                let input = self.inputs.get(*index).ok_or(Deferred)?;
                self.push(Object::given(input.get(row))?)
            }
            I::Time => self.push(moment.clone()),
            I::Load(index) => {
                let local = self.locals.get(*index).cloned().flatten().ok_or(Deferred)?;
                self.push(local)
            }
            I::Store(index) => {
                let object = self.pop()?;
                *self.locals.get_mut(*index).ok_or(Deferred)? = Some(object);
                Next::Step
            }
            I::Pop => {
                self.pop()?;
                Next::Step
            }
            I::Binary(operator) => {
                let (right, left) = (self.pop()?, self.pop()?);
                self.push(arithmetic::binary(*operator, &left, &right)?)
            }
            I::Unary(operator) => {
                let operand = self.pop()?;
                self.push(arithmetic::unary(*operator, &operand)?)
            }
            I::Compare(comparison) => {
                let (right, left) = (self.pop()?, self.pop()?);
                self.push(Object::Bool(compare::compare(*comparison, &left, &right)?))
            }
            I::Jump(to) => Next::Jump(*to),
            I::JumpIfFalse(to) => match self.pop()?.is_true() {
                true => Next::Step,
                false => Next::Jump(*to),
            },
            I::JumpIfFalseOrPop(to) => self.keep_if(false, *to)?,
            I::JumpIfTrueOrPop(to) => self.keep_if(true, *to)?,
            I::Return => Next::Return,
            I::Defer => return Err(Deferred),
            other => self.compound(other, row)?,
        })
    }

    /// Jumps with what is on the stack if it is true, or false; otherwise drops it.
    fn keep_if(&mut self, wanted: bool, to: usize) -> Computed<Next> {
        if self.stack.last().ok_or(Deferred)?.is_true() == wanted {
            return Ok(Next::Jump(to));
        }
        self.pop()?;
        Ok(Next::Step)
    }

    /// Calls, and what is made of several objects or taken from one.
    fn compound(&mut self, instruction: &Instruction, row: usize) -> Computed<Next> {
        use Instruction as I;
        let object = match instruction {
            I::Call(function, count) => {
                let from = self.stack.len().checked_sub(*count).ok_or(Deferred)?;
                let result = builtins::call(*function, self.stack.get(from..).ok_or(Deferred)?)?;
                self.stack.truncate(from);
                result
            }
            I::IsInstance(kinds) => {
                let object = self.pop()?;
                Object::Bool(kinds.iter().any(|kind| builtins::is_instance(&object, *kind)))
            }
            I::Part(part) => time::part(&self.pop()?, *part)?,
            I::Item => {
                let (key, container) = (self.pop()?, self.pop()?);
                item(&container, &key)?.ok_or(Deferred)?
            }
            I::Get => {
                let (default, key, container) = (self.pop()?, self.pop()?, self.pop()?);
                if matches!(container, Object::Tuple(_)) {
                    return Err(Deferred);
                }
                item(&container, &key)?.unwrap_or(default)
            }
            I::Fields(names) => fields(&self.pop()?, names)?,
            I::Tuple(count) => Object::Tuple(self.pop_many(*count)?.into()),
            I::Dict(names) => {
                let values = self.pop_many(names.len())?;
                let keys = names.iter().map(|name| Object::Text(name.as_str().into()));
                Object::Dict(keys.zip(values).collect())
            }
            I::Unpack(count) => {
                let Object::Tuple(items) = self.pop()? else { return Err(Deferred) };
                if items.len() != *count {
                    return Err(Deferred);
                }
                self.stack.extend(items.iter().rev().cloned());
                return Ok(Next::Step);
            }
            I::Lookup(dataset, names) => self.lookup(dataset, names, row)?,
            _ => return Err(Deferred),
        };
        Ok(self.push(object))
    }

    fn lookup(&mut self, dataset: &str, names: &[String], row: usize) -> Computed<Object> {
        let values = self.pop_many(names.len())?;
        let Object::Moment(us) = self.pop()? else { return Err(Deferred) };
        let mut key = Vec::with_capacity(names.len());
        for (name, value) in names.iter().zip(values) {
            key.push((name.clone(), value.into_value()?));
        }
        let context = self.context.ok_or(Deferred)?;
        // CPython looks it up once more, and raises.
        let found = context.lookup(row, dataset, EventTime(us), &key).map_err(|_| Deferred)?;
        let fields = found.into_iter().map(|(name, value)| Ok((name, Object::given(value)?)));
        Ok(Object::Row(Row { fields: fields.collect::<Computed<Arc<[_]>>>()?, is_whole: true }))
    }
}

/// `container[key]`, if it is there.
fn item(container: &Object, key: &Object) -> Computed<Option<Object>> {
    match (container, key) {
        (Object::Row(row), Object::Text(name)) => Ok(row.get(name).cloned()),
        // What cannot be hashed raises; what is a key is none of these.
        (Object::Dict(_), Object::Tuple(_) | Object::Dict(_) | Object::Row(_)) => Err(Deferred),
        (Object::Dict(items), _) => {
            for (known, value) in items.iter() {
                if compare::is_equal(known, key)? {
                    return Ok(Some(value.clone()));
                }
            }
            Ok(None)
        }
        (Object::Tuple(items), _) => {
            let index = key.index()?;
            let from_end = if index < 0 { index + items.len() as i64 } else { index };
            Ok(usize::try_from(from_end).ok().and_then(|index| items.get(index).cloned()))
        }
        _ => Err(Deferred),
    }
}

/// `row[[names]]`: those fields of a row, in that order.
fn fields(object: &Object, names: &[String]) -> Computed<Object> {
    let Object::Row(row) = object else { return Err(Deferred) };
    let picked = names.iter().map(|name| Ok((name.clone(), row.get(name).cloned().ok_or(Deferred)?)));
    Ok(Object::Row(Row { fields: picked.collect::<Computed<Arc<[_]>>>()?, is_whole: false }))
}
