//! What an extractor was translated to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;
use thyme_core::{Error, Result};

use super::arithmetic::{Binary, Unary};
use super::builtins::{Function, Kind};
use super::compare::Comparison;
use super::object::Object;
use super::time::Part;

/// A translated extractor.
#[derive(Debug)]
pub struct Program {
    pub(super) constants: Vec<Object>,
    pub(super) locals: usize,
    pub(super) code: Vec<Instruction>,
    pub(super) outputs: Vec<String>,
    has_deferred: AtomicBool,
}

/// A step. Values are taken from the stack and put onto it; jumps name the instruction they go to, which is further
/// down.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Instruction {
    Constant(usize),
    Input(usize),
    /// The extractor's `ts`.
    Time,
    Load(usize),
    Store(usize),
    Pop,
    Binary(Binary),
    Unary(Unary),
    Compare(Comparison),
    Jump(usize),
    JumpIfFalse(usize),
    /// `and`: keeps what is false.
    JumpIfFalseOrPop(usize),
    /// `or`: keeps what is true.
    JumpIfTrueOrPop(usize),
    Call(Function, usize),
    IsInstance(Vec<Kind>),
    Part(Part),
    /// `container[key]`.
    Item,
    /// `container.get(key, default)`.
    Get,
    /// `row[["a", "b"]]`.
    Fields(Vec<String>),
    Tuple(usize),
    /// A dict of as many values, by these names.
    Dict(Vec<String>),
    Unpack(usize),
    /// `Dataset.lookup(ts, key=...)`: the time, then a value for each of the names.
    Lookup(String, Vec<String>),
    /// What CPython does from here: it raises.
    Defer,
    Return,
}

/// A program as `thyme._compiled` writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    constants: Vec<Constant>,
    locals: usize,
    code: Vec<Instruction>,
    outputs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Constant {
    None,
    Bool(bool),
    Int(i64),
    /// Its bits.
    Float(u64),
    Text(String),
    /// Microseconds since the epoch.
    Moment(i64),
    /// Microseconds.
    Duration(i64),
    Tuple(Vec<Constant>),
    Dict(Vec<(Constant, Constant)>),
}

impl Program {
    /// Reads what `thyme._compiled` has written.
    ///
    /// # Errors
    /// Internal: it is none, or it jumps backwards or to nowhere.
    pub fn parse(json: &str) -> Result<Program> {
        let refused = |why: String| Error::internal(format!("a translated extractor: {why}"));
        let written: Written = serde_json::from_str(json).map_err(|e| refused(e.to_string()))?;
        if written.locals > written.code.len() {
            return Err(refused(format!(
                "{} locals for {} instructions",
                written.locals,
                written.code.len()
            )));
        }
        for (at, instruction) in written.code.iter().enumerate() {
            use Instruction::{Constant, Jump, JumpIfFalse, JumpIfFalseOrPop, JumpIfTrueOrPop, Load, Store};
            let fits = match instruction {
                Jump(to) | JumpIfFalse(to) | JumpIfFalseOrPop(to) | JumpIfTrueOrPop(to) => {
                    (at + 1..=written.code.len()).contains(to)
                }
                Constant(index) => *index < written.constants.len(),
                Load(index) | Store(index) => *index < written.locals,
                _ => true,
            };
            if !fits {
                return Err(refused(format!("instruction {at} is {instruction:?}")));
            }
        }
        Ok(Program {
            constants: written.constants.into_iter().map(Constant::object).collect(),
            locals: written.locals,
            code: written.code,
            outputs: written.outputs,
            has_deferred: AtomicBool::new(false),
        })
    }

    /// How many outputs it has.
    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Notes that it has left a row to CPython.
    pub(super) fn note_deferred(&self) {
        self.has_deferred.store(true, Ordering::Relaxed);
    }

    /// Whether it has ever left a row to CPython: if so it may do so again.
    pub fn has_deferred(&self) -> bool {
        self.has_deferred.load(Ordering::Relaxed)
    }
}

impl Constant {
    fn object(self) -> Object {
        match self {
            Constant::None => Object::None,
            Constant::Bool(v) => Object::Bool(v),
            Constant::Int(v) => Object::Int(v),
            Constant::Float(bits) => Object::Float(f64::from_bits(bits)),
            Constant::Text(v) => Object::Text(v.into()),
            Constant::Moment(us) => Object::Moment(us),
            Constant::Duration(us) => Object::Duration(us),
            Constant::Tuple(items) => Object::Tuple(items.into_iter().map(Constant::object).collect()),
            Constant::Dict(items) => {
                let items = items.into_iter().map(|(key, value)| (key.object(), value.object()));
                Object::Dict(items.collect::<Arc<[_]>>())
            }
        }
    }
}
