//! Extractors that run here instead of in CPython, with Python's semantics.
//!
//! `thyme._compiled` translates the body of an extractor into a [`Program`]: instructions for a stack, whose jumps
//! only go forward, so that every run ends. What a run does not know for sure it leaves to CPython ([`Deferred`]):
//! an int outside int64, and everything that raises. So an exception is always CPython's own, with its own text.

mod arithmetic;
mod builtins;
mod compare;
mod machine;
mod object;
mod program;
mod shape;
mod time;

use thyme_core::{EventTime, Result, Value};

pub use program::Program;

use crate::column::ColumnBuffer;
use crate::extractor::{ExtractorHost, LookupContext};
use machine::Machine;

/// Left to CPython.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferred;

/// What was computed, unless it is left to CPython.
type Computed<T> = std::result::Result<T, Deferred>;

/// What one row came to: a value for each output, or nothing if it is left to CPython.
pub type Outcome = Option<Vec<Value>>;

/// Runs a program over rows that look nothing up: what lookups would read is not there, and defers.
pub fn run_alone(program: &Program, times: &[EventTime], inputs: &[&ColumnBuffer]) -> Vec<Outcome> {
    let mut machine = Machine::new(program, inputs, None);
    times.iter().enumerate().map(|(row, time)| machine.run(row, *time).ok()).collect()
}

/// The outputs of rows, a list each: as [`ExtractorHost::call`] gives them, which is asked only for the rows that
/// the program defers.
///
/// # Errors
/// As [`ExtractorHost::call`].
pub(crate) fn call(
    program: &Program,
    (host, handle): (&dyn ExtractorHost, u64),
    times: &[EventTime],
    inputs: &[&ColumnBuffer],
    context: &LookupContext,
) -> Result<Vec<Vec<Value>>> {
    let mut machine = Machine::new(program, inputs, Some(context));
    let mut outputs = vec![Vec::with_capacity(times.len()); program.outputs()];
    let mut deferred: Vec<u32> = Vec::new();
    for (row, time) in times.iter().enumerate() {
        let values = machine.run(row, *time).unwrap_or_else(|Deferred| {
            deferred.push(row as u32);
            vec![Value::Null; program.outputs()]
        });
        outputs.iter_mut().zip(values).for_each(|(output, value)| output.push(value));
    }
    if deferred.is_empty() || context.failure().is_some() {
        return Ok(outputs);
    }
    program.note_deferred();
    let picked: Vec<ColumnBuffer> = inputs.iter().map(|column| column.pick(&deferred)).collect();
    let picked: Vec<&ColumnBuffer> = picked.iter().collect();
    let times: Vec<EventTime> = deferred.iter().map(|&row| times[row as usize]).collect();
    let hosted = host.call(handle, &times, &picked, &context.of_rows(&deferred))?;
    if hosted.len() != outputs.len() || hosted.iter().any(|column| column.len() != deferred.len()) {
        return Ok(hosted); // of another shape, which the caller says
    }
    for (output, column) in outputs.iter_mut().zip(hosted) {
        deferred.iter().zip(column).for_each(|(&row, value)| output[row as usize] = value);
    }
    Ok(outputs)
}
