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

use std::ops::Range;

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
    let mut one = |row: usize, time: EventTime| {
        let mut outputs = vec![Vec::new(); program.outputs()];
        machine.run_into(row, time, &mut outputs).ok()?;
        Some(outputs.into_iter().flatten().collect())
    };
    times.iter().enumerate().map(|(row, time)| one(row, *time)).collect()
}

/// What rows came to: a list for each output, and the rows that are left to CPython and null in them.
struct Done {
    outputs: Vec<Vec<Value>>,
    deferred: Vec<u32>,
}

/// So many rows are not worth a second thread.
const PARALLEL_FROM_ROWS: usize = 4096;

/// Runs all rows, many of them on all cores.
fn run_rows(
    program: &Program,
    times: &[EventTime],
    inputs: &[&ColumnBuffer],
    context: &LookupContext,
) -> Done {
    let run = |rows: Range<usize>| {
        let mut machine = Machine::new(program, inputs, Some(context));
        let mut done =
            Done { outputs: vec![Vec::with_capacity(rows.len()); program.outputs()], deferred: vec![] };
        for row in rows {
            if machine.run_into(row, times[row], &mut done.outputs) == Err(Deferred) {
                done.deferred.push(row as u32);
                done.outputs.iter_mut().for_each(|output| output.push(Value::Null));
            }
        }
        done
    };
    let cores = match times.len() {
        0..PARALLEL_FROM_ROWS => 1,
        _ => std::thread::available_parallelism().map_or(1, usize::from),
    };
    if cores == 1 {
        return run(0..times.len());
    }
    let part = times.len().div_ceil(cores);
    let parts = (0..times.len()).step_by(part).map(|from| from..(from + part).min(times.len()));
    std::thread::scope(|scope| {
        let threads: Vec<_> = parts.map(|rows| scope.spawn(|| run(rows))).collect();
        let mut all =
            Done { outputs: vec![Vec::with_capacity(times.len()); program.outputs()], deferred: vec![] };
        for thread in threads {
            let done = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.outputs.iter_mut().zip(done.outputs).for_each(|(all, done)| all.extend(done));
            all.deferred.extend(done.deferred);
        }
        all
    })
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
    let Done { mut outputs, deferred } = run_rows(program, times, inputs, context);
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
