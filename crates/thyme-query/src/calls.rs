//! Calls of extractors: all rows in one, or rows apart where one of them fails and the others are wanted.

use thyme_core::{DataType, Error, ErrorKind, EventTime, Result, Value};

use crate::column::ColumnBuffer;
use crate::compiled::{self, Outputs};
use crate::evaluate::Frame;
use crate::extractor::{ExtractorHost, LookupContext, Runs};
use crate::plan::Call;
use crate::slots::Slots;

/// Runs a call over all rows and fills the slots of its outputs.
///
/// # Errors
/// Extractor: what it raised, or that it returned something else than it declared, unless failures are kept.
pub(crate) fn run(
    call: &Call,
    host: &dyn ExtractorHost,
    frame: &Frame,
    context: &LookupContext,
    slots: &mut Slots<'_>,
) -> Result<()> {
    let traced = slots.is_tracked().then(|| context.tracing());
    let context = traced.as_ref().unwrap_or(context);
    let rows: Vec<u32> = (0..frame.times.len() as u32).collect();
    let mut fit = rows.clone();
    if slots.is_tracked() {
        fit.retain(|row| !fails_before(call, slots, *row as usize));
    }
    if fit.len() == rows.len() {
        match outputs(call, host, &frame.times, &inputs(call, slots), context, slots) {
            Ok(outputs) => replace(call, slots, outputs),
            Err(error) if slots.keeps_failures() && error.kind() == ErrorKind::Extractor => {
                apart(call, host, frame, context, slots, &rows)?;
            }
            Err(error) => {
                if error.kind() == ErrorKind::Extractor {
                    context.note_failed(&call.name, error.detail().to_owned());
                }
                return Err(error);
            }
        }
    } else {
        apart(call, host, frame, context, slots, &fit)?;
    }
    note_newest(call, slots, context);
    call.outputs.iter().try_for_each(|(slot, _)| slots.settle(*slot))
}

fn inputs<'s>(call: &Call, slots: &'s Slots<'_>) -> Vec<&'s ColumnBuffer> {
    call.inputs.iter().map(|&slot| &slots.columns[slot]).collect()
}

/// Fails what is made of something that has failed.
fn fails_before(call: &Call, slots: &mut Slots<'_>, row: usize) -> bool {
    let failed = |slot: &&usize| slots.facts.get(**slot).is_some_and(|facts| facts.errors.contains_key(&row));
    let Some(input) = call.inputs.iter().find(failed) else { return false };
    let why = slots.facts[*input].errors.get(&row).cloned().unwrap_or_default();
    call.outputs.iter().for_each(|(slot, _)| slots.facts[*slot].fail(row, why.clone()));
    true
}

/// The outputs of rows, checked against what is declared.
fn outputs(
    call: &Call,
    host: &dyn ExtractorHost,
    times: &[EventTime],
    inputs: &[&ColumnBuffer],
    context: &LookupContext,
    slots: &Slots<'_>,
) -> Result<Vec<ColumnBuffer>> {
    let declared: Vec<DataType> =
        call.outputs.iter().map(|(slot, _)| slots.columns[*slot].data_type()).collect();
    let outputs = match &call.runs {
        Runs::Compiled(program) => {
            compiled::call(program, &declared, (host, call.handle), times, inputs, context)
        }
        Runs::Vectorized => host.call_vectorized(call.handle, times, inputs, context).map(Outputs::Columns),
        Runs::Hosted(_) => host.call(call.handle, times, inputs, context).map(Outputs::Values),
        Runs::Expression(expression) => {
            expression.run(times.len(), inputs).map(|column| Outputs::Columns(vec![column]))
        }
    };
    if let Some(failure) = context.failure() {
        return Err(failure);
    }
    let outputs = outputs?;
    let (count, is_long) = match &outputs {
        Outputs::Columns(columns) => (columns.len(), columns.iter().all(|c| c.len() == times.len())),
        Outputs::Values(lists) => (lists.len(), lists.iter().all(|list| list.len() == times.len())),
    };
    if count != call.outputs.len() || !is_long {
        return Err(Error::internal(format!(
            "{}: the extractor host gave columns of another shape",
            call.name
        )));
    }
    match outputs {
        Outputs::Columns(columns) => columns
            .into_iter()
            .enumerate()
            .map(|(at, column)| fitted(call, at, column, declared[at]))
            .collect(),
        Outputs::Values(lists) => checked(&call.name, &call.outputs, lists, &declared),
    }
}

/// Values as columns of the declared types.
fn checked(
    name: &str,
    outputs: &[(usize, String)],
    lists: Vec<Vec<Value>>,
    declared: &[DataType],
) -> Result<Vec<ColumnBuffer>> {
    let mut columns = Vec::with_capacity(lists.len());
    for (((_, feature), values), &declared) in outputs.iter().zip(lists).zip(declared) {
        let mut column = ColumnBuffer::nulls(declared, values.len());
        for (row, value) in values.into_iter().enumerate() {
            let got = value.data_type().map_or("null", |t| t.name());
            let value = value.widen(declared).ok_or_else(|| {
                let detail =
                    format!("{name}: {feature} is declared {declared}, the extractor returned a {got}");
                Error::new(ErrorKind::Extractor, detail)
            })?;
            column.set(row, value);
        }
        columns.push(column);
    }
    Ok(columns)
}

/// A column as one of the declared type.
fn fitted(call: &Call, output: usize, column: ColumnBuffer, declared: DataType) -> Result<ColumnBuffer> {
    if column.data_type() == declared {
        return Ok(column);
    }
    let lists = vec![(0..column.len()).map(|row| column.get(row)).collect()];
    let one = &call.outputs[output..=output];
    checked(&call.name, one, lists, &[declared])?.pop().ok_or_else(|| Error::internal("no column"))
}

/// Fills the slots of the outputs with all rows.
fn replace(call: &Call, slots: &mut Slots<'_>, outputs: Vec<ColumnBuffer>) {
    for ((slot, _), column) in call.outputs.iter().zip(outputs) {
        slots.columns[*slot] = column;
    }
}

/// Rows apart from each other, so that one that fails takes no other with it: each by itself, or of a vectorized
/// extractor halves of what fails.
fn apart(
    call: &Call,
    host: &dyn ExtractorHost,
    frame: &Frame,
    context: &LookupContext,
    slots: &mut Slots<'_>,
    rows: &[u32],
) -> Result<()> {
    let mut failed: Option<(String, usize)> = None;
    let size = if matches!(call.runs, Runs::Vectorized) { rows.len().max(1) } else { 1 };
    let mut waiting: Vec<&[u32]> = rows.chunks(size).rev().collect();
    while let Some(part) = waiting.pop() {
        let picked: Vec<ColumnBuffer> =
            inputs(call, slots).into_iter().map(|column| column.pick(part)).collect();
        let picked: Vec<&ColumnBuffer> = picked.iter().collect();
        let times: Vec<EventTime> = part.iter().map(|&row| frame.times[row as usize]).collect();
        match (outputs(call, host, &times, &picked, &context.of_rows(part), slots), part) {
            (Ok(outputs), _) => {
                for ((slot, _), column) in call.outputs.iter().zip(outputs) {
                    slots.columns[*slot].scatter(column, part);
                }
            }
            (Err(error), &[row]) if error.kind() == ErrorKind::Extractor => {
                let why = error.detail();
                call.outputs
                    .iter()
                    .for_each(|(slot, _)| slots.facts[*slot].fail(row as usize, why.to_owned()));
                failed.get_or_insert_with(|| (why.to_owned(), 0)).1 += 1;
            }
            (Err(error), _) if error.kind() == ErrorKind::Extractor => {
                let (first, second) = part.split_at(part.len() / 2);
                waiting.extend([second, first]);
            }
            (Err(error), _) => return Err(error),
        }
    }
    match failed {
        None => {}
        Some((why, 1)) => context.note_failed(&call.name, why),
        Some((why, several)) => {
            context.note_failed(&call.name, format!("{why}; it failed for {several} of {} rows", rows.len()));
        }
    }
    Ok(())
}

/// The newest event behind an output is the newest behind what it was made of.
fn note_newest(call: &Call, slots: &mut Slots<'_>, context: &LookupContext) {
    if !slots.is_tracked() {
        return;
    }
    let rows = slots.facts.first().map_or(0, |facts| facts.newest.len());
    let taken = call.inputs.iter().map(|slot| &slots.facts[*slot].newest);
    let taken: Vec<&Vec<Option<EventTime>>> = taken.collect();
    let looked_up = context.newest();
    let newest: Vec<Option<EventTime>> = (0..rows)
        .map(|row| {
            let taken = taken.iter().filter_map(|newest| newest[row]);
            taken.chain(looked_up.get(&row).copied()).max()
        })
        .collect();
    for (slot, _) in &call.outputs {
        slots.facts[*slot].newest.clone_from(&newest);
    }
}
