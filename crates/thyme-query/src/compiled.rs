//! Extractors that run here instead of in CPython, with Python's semantics.
//!
//! `thyme._compiled` translates the body of an extractor into a [`Program`]: instructions for a stack, whose jumps
//! only go forward, so that every run ends. What a run does not know for sure it leaves to CPython ([`Deferred`]):
//! an int outside int64, and everything that raises. So an exception is always CPython's own, with its own text.
//! One row is run by the [`machine`]; many are run together, an instruction at a time ([`columns`]).

mod arithmetic;
mod builtins;
mod columns;
mod compare;
mod lane;
mod machine;
mod object;
mod program;
mod results;
mod shape;
mod time;
mod vector;

use std::ops::Range;

use thyme_core::{DataType, EventTime, Result, Value};

pub use program::Program;

use crate::column::ColumnBuffer;
use crate::extractor::{ExtractorHost, LookupContext};
use columns::Columns;
use machine::Machine;
use results::Results;

/// Left to CPython.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferred;

/// What was computed, unless it is left to CPython.
type Computed<T> = std::result::Result<T, Deferred>;

/// What one row came to: a value for each output, or nothing if it is left to CPython.
pub type Outcome = Option<Vec<Value>>;

/// Runs a program over rows that look nothing up, one by one: what lookups would read is not there, and defers.
pub fn run_alone(program: &Program, times: &[EventTime], inputs: &[&ColumnBuffer]) -> Vec<Outcome> {
    let mut machine = Machine::new(program, inputs, None);
    let one = |(row, time): (usize, &EventTime)| of_row(program, &mut machine, row, *time);
    times.iter().enumerate().map(one).collect()
}

/// The same rows all at once, whose outputs are declared to be of these types; `None` if they are of others. Of what is
/// left to the [`machine`] there is nothing here.
pub fn run_alone_in_columns(
    program: &Program,
    declared: &[DataType],
    times: &[EventTime],
    inputs: &[&ColumnBuffer],
) -> Option<Vec<Outcome>> {
    let mut results = Results::new(&program.outputs, declared, 0, times.len());
    let unsure = Columns::new(program, times, inputs, None, 1).run(0..times.len() as u32, &mut results);
    let columns = results.columns()?;
    let of_row = |row: usize| {
        let is_unsure = unsure.binary_search(&(row as u32)).is_ok();
        (!is_unsure).then(|| columns.iter().map(|column| column.get(row)).collect())
    };
    Some((0..times.len()).map(of_row).collect())
}

fn of_row(program: &Program, machine: &mut Machine<'_>, row: usize, time: EventTime) -> Outcome {
    let mut outputs = vec![Vec::with_capacity(1); program.outputs()];
    machine.run_into(row, time, &mut outputs).ok()?;
    Some(outputs.into_iter().flatten().collect())
}

/// What an extractor came to, whoever ran it.
#[derive(Debug)]
pub(crate) enum Outputs {
    /// A column for each output, of its declared type.
    Columns(Vec<ColumnBuffer>),
    /// A list for each output, whose types nobody has looked at.
    Values(Vec<Vec<Value>>),
}

/// So many rows are not worth a second thread.
const PARALLEL_FROM_ROWS: usize = 4096;

/// Fewer rows are run one by one.
const COLUMNS_FROM_ROWS: usize = 24;

/// Groups of fewer rows are.
const GROUP_ROWS_MIN: usize = 8;

/// So many rows are run at once: what they have on the way stays in the processor's cache.
const BLOCK_ROWS: usize = 2048;

/// Runs a range of rows: a column for each output, and the rows that are left to CPython. `None` if an output is not of
/// its declared type.
fn run_range(
    program: &Program,
    declared: &[DataType],
    times: &[EventTime],
    inputs: &[&ColumnBuffer],
    context: Option<&LookupContext>,
    rows: Range<usize>,
) -> Option<(Vec<ColumnBuffer>, Vec<u32>)> {
    let mut results = Results::new(&program.outputs, declared, rows.start, rows.len());
    let mut columns = Columns::new(program, times, inputs, context, GROUP_ROWS_MIN);
    let mut machine = Machine::new(program, inputs, context);
    let mut deferred = Vec::new();
    for from in rows.clone().step_by(BLOCK_ROWS) {
        let block = from as u32..rows.end.min(from + BLOCK_ROWS) as u32;
        for row in columns.run(block, &mut results) {
            match of_row(program, &mut machine, row as usize, times[row as usize]) {
                Some(values) => results.put(row, values),
                None => deferred.push(row),
            }
        }
    }
    Some((results.columns()?, deferred))
}

/// Runs all rows, many of them on all cores; as [`run_range`].
fn run_rows(
    program: &Program,
    declared: &[DataType],
    times: &[EventTime],
    inputs: &[&ColumnBuffer],
    context: &LookupContext,
) -> Option<(Vec<ColumnBuffer>, Vec<u32>)> {
    let run = |rows| run_range(program, declared, times, inputs, Some(context), rows);
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
        let done = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        done.reduce(|all, part| {
            let ((mut columns, mut deferred), (more, left)) = (all?, part?);
            columns.iter_mut().zip(more).for_each(|(column, more)| column.append(more));
            deferred.extend(left);
            Some((columns, deferred))
        })
        .flatten()
    })
}

/// Runs all rows one by one; the lists have nulls for those that are left to CPython.
fn run_one_by_one(
    program: &Program,
    times: &[EventTime],
    inputs: &[&ColumnBuffer],
    context: &LookupContext,
) -> (Vec<Vec<Value>>, Vec<u32>) {
    let mut machine = Machine::new(program, inputs, Some(context));
    let mut outputs = vec![Vec::with_capacity(times.len()); program.outputs()];
    let mut deferred = vec![];
    for (row, time) in times.iter().enumerate() {
        if machine.run_into(row, *time, &mut outputs) == Err(Deferred) {
            deferred.push(row as u32);
            outputs.iter_mut().for_each(|output| output.push(Value::Null));
        }
    }
    (outputs, deferred)
}

/// The outputs of rows, whose types are `declared`. As [`ExtractorHost::call`], which is asked only for the rows that the
/// program defers.
///
/// # Errors
/// As [`ExtractorHost::call`].
pub(crate) fn call(
    program: &Program,
    declared: &[DataType],
    (host, handle): (&dyn ExtractorHost, u64),
    times: &[EventTime],
    inputs: &[&ColumnBuffer],
    context: &LookupContext,
) -> Result<Outputs> {
    let many = match times.len() {
        0..COLUMNS_FROM_ROWS => None,
        _ => run_rows(program, declared, times, inputs, context),
    };
    let (outputs, deferred) = match many {
        Some((columns, deferred)) => (Outputs::Columns(columns), deferred),
        // What is of another type than is declared is told by who asked.
        None => {
            let (outputs, deferred) = run_one_by_one(program, times, inputs, context);
            (Outputs::Values(outputs), deferred)
        }
    };
    if deferred.is_empty() || context.failure().is_some() {
        return Ok(outputs);
    }
    program.note_deferred();
    let picked: Vec<ColumnBuffer> = inputs.iter().map(|column| column.pick(&deferred)).collect();
    let picked: Vec<&ColumnBuffer> = picked.iter().collect();
    let times: Vec<EventTime> = deferred.iter().map(|&row| times[row as usize]).collect();
    let hosted = host.call(handle, &times, &picked, &context.of_rows(&deferred))?;
    Ok(outputs.with(&deferred, hosted))
}

impl Outputs {
    /// With what CPython gave for some rows.
    fn with(self, rows: &[u32], hosted: Vec<Vec<Value>>) -> Outputs {
        let outputs = match &self {
            Outputs::Columns(columns) => columns.len(),
            Outputs::Values(lists) => lists.len(),
        };
        if hosted.len() != outputs || hosted.iter().any(|column| column.len() != rows.len()) {
            return Outputs::Values(hosted); // of another shape, which the caller says
        }
        match self {
            Outputs::Columns(mut columns)
                if columns
                    .iter()
                    .zip(&hosted)
                    .all(|(column, values)| values.iter().all(|value| column.takes(value.data_type()))) =>
            {
                for (column, values) in columns.iter_mut().zip(hosted) {
                    rows.iter().zip(values).for_each(|(&row, value)| column.set(row as usize, value));
                }
                Outputs::Columns(columns)
            }
            other => {
                let mut lists = other.into_values();
                for (list, values) in lists.iter_mut().zip(hosted) {
                    rows.iter().zip(values).for_each(|(&row, value)| list[row as usize] = value);
                }
                Outputs::Values(lists)
            }
        }
    }

    fn into_values(self) -> Vec<Vec<Value>> {
        match self {
            Outputs::Values(lists) => lists,
            Outputs::Columns(columns) => {
                let values = |column: &ColumnBuffer| (0..column.len()).map(|row| column.get(row)).collect();
                columns.iter().map(values).collect()
            }
        }
    }
}
