//! Runs a plan over a frame of entities and times at one snapshot.

use std::ops::Range;

use thyme_core::{DataType, Error, ErrorKind, EventTime, Position, Result, Value};
use thyme_engine::Snapshot;

use crate::calls;
use crate::column::ColumnBuffer;
use crate::entities::{Grouped, RowKeys};
use crate::extractor::{ExtractorHost, LookupContext};
use crate::facts::{Detail, Facts};
use crate::plan::{Plan, Read, Source};
use crate::slots::Slots;

/// What is asked: entities, the time of each, and request features.
#[derive(Debug)]
pub struct Frame {
    /// A column for each entity field of the plan.
    pub entity: Vec<ColumnBuffer>,
    /// The as-of time of each row.
    pub times: Vec<EventTime>,
    /// As known at which position, for each row; `None`: all at the snapshot's.
    pub positions: Option<Vec<Position>>,
    /// Request features by name; nulls stand for "not given".
    pub inputs: Vec<(String, ColumnBuffer)>,
}

/// Frames with fewer rows are not worth a second thread.
const PARALLEL_FROM_ROWS: usize = 512;

/// The features of every row, in the plan's order.
///
/// # Errors
/// InvalidData for a request feature that is missing, or what an extractor raised.
pub fn evaluate(
    plan: &Plan,
    snapshot: &Snapshot,
    host: &dyn ExtractorHost,
    frame: &Frame,
) -> Result<Vec<ColumnBuffer>> {
    Ok(evaluate_with(plan, snapshot, host, frame, Detail::Values)?.0)
}

/// [`evaluate`], with the facts of each feature if they are asked for; otherwise there are none.
///
/// # Errors
/// As [`evaluate`]; with facts, what an extractor raised is one of them instead.
pub fn evaluate_with(
    plan: &Plan,
    snapshot: &Snapshot,
    host: &dyn ExtractorHost,
    frame: &Frame,
    detail: Detail,
) -> Result<(Vec<ColumnBuffer>, Vec<Facts>)> {
    let rows = frame.times.len();
    let mut slots = Slots::new(plan, &frame.times, detail);
    for &(slot, field) in &plan.entity_slots {
        for row in 0..rows {
            slots.columns[slot].set(row, frame.entity[field].get(row));
        }
    }
    requests(plan, frame, &mut slots)?;
    for read in &plan.reads {
        check_kept(read, snapshot, frame)?;
        let newest = run_read(read, snapshot, frame, &mut slots)?;
        for &(_, slot) in &read.targets {
            slots.settle_read(slot, newest.as_ref())?;
        }
    }
    let context = LookupContext::new(snapshot.clone(), frame.positions.clone());
    for call in &plan.calls {
        calls::run(call, host, frame, &context, &mut slots)?;
    }
    Ok(slots.answer())
}

/// Refuses rows that need what retention has removed, by the first of them; the reads ask once more themselves.
fn check_kept(read: &Read, snapshot: &Snapshot, frame: &Frame) -> Result<()> {
    if read.node.removed_until().is_none() {
        return Ok(());
    }
    let wanted = read.targets.iter().filter_map(|(source, _)| match source {
        Source::Value(output) => Some(*output),
        _ => None,
    });
    let wanted: Vec<usize> = wanted.collect();
    let check = |time: &EventTime| snapshot.check_kept(&read.node, *time, &wanted);
    let mut refused =
        frame.times.iter().enumerate().filter_map(|(row, time)| Some((row, check(time).err()?)));
    let Some((row, error)) = refused.next() else { return Ok(()) };
    if frame.times.len() == 1 {
        return Err(error);
    }
    let (others, rows) = (refused.count(), frame.times.len());
    Err(Error::new(
        error.kind(),
        format!("row {row} of {rows} ({others} others too; leave them out): {}", error.detail()),
    ))
}

fn requests(plan: &Plan, frame: &Frame, slots: &mut Slots<'_>) -> Result<()> {
    let known = || plan.requests.iter().map(|r| r.name.as_str());
    let is_unknown = |name: &str| plan.request(name).is_none() && plan.unused.iter().all(|u| u != name);
    if let Some((name, _)) = frame.inputs.iter().find(|(name, _)| is_unknown(name)) {
        return Err(Error::new(
            ErrorKind::InvalidData,
            match known().collect::<Vec<_>>().as_slice() {
                [] => format!("featureset {} takes no inputs, got {name}", plan.name),
                names => format!(
                    "featureset {} has no request feature {name}; it takes {}",
                    plan.name,
                    names.join(", ")
                ),
            },
        ));
    }
    for request in &plan.requests {
        let is_it = |name: &str| plan.request(name).is_some_and(|r| r.slot == request.slot);
        let mut given = frame.inputs.iter().filter(|(name, _)| is_it(name));
        if let Some((name, column)) = given.next() {
            if let Some((other, _)) = given.next() {
                return Err(Error::invalid_data(format!(
                    "featureset {}: {name} and {other} are two names of one request feature; give it once, as {}",
                    plan.name, request.name
                )));
            }
            slots.columns[request.slot] = column.clone();
        }
        match &request.default {
            Some(_) => {}
            None if request.optional => {}
            None => {
                let missing = |row: &usize| slots.columns[request.slot].is_null(*row);
                if let Some(row) = (0..frame.times.len()).find(missing) {
                    return Err(Error::invalid_data(format!(
                        "featureset {}: the request feature {} has no default and is null or not given (row {row}); give it in the inputs of a POST, or declare it Optional",
                        plan.name, request.name
                    )));
                }
            }
        }
        slots.settle(request.slot)?;
    }
    Ok(())
}

/// Fills the slots of a read; gives the newest event of each row if somebody wants to know.
fn run_read(
    read: &Read,
    snapshot: &Snapshot,
    frame: &Frame,
    slots: &mut Slots<'_>,
) -> Result<Option<ColumnBuffer>> {
    let rows = frame.times.len();
    let mut newest = slots.is_tracked().then(|| ColumnBuffer::nulls(DataType::Datetime, rows));
    let parts: Vec<&ColumnBuffer> = read.key.iter().map(|&field| &frame.entity[field]).collect();
    let keys = RowKeys::encode(&parts, rows);
    let types = read.targets.iter().map(|(_, slot)| slots.columns[*slot].data_type());
    let types = types.chain(newest.iter().map(ColumnBuffer::data_type)).collect();
    let work = Work { read, snapshot, keys: &keys, frame, types };
    if rows == 1 {
        let mut parts = work.group(&[0])?.into_iter();
        for (target, part) in read.targets.iter().zip(&mut parts) {
            slots.columns[target.1].scatter(part, &[0]);
        }
        newest.iter_mut().zip(parts).for_each(|(newest, part)| newest.scatter(part, &[0]));
        return Ok(newest);
    }
    let grouped = Grouped::new(&keys, &frame.times);
    let threads = match rows {
        0..PARALLEL_FROM_ROWS => 1,
        _ => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let runs = grouped.split(threads);
    let done: Vec<(Vec<u32>, Vec<ColumnBuffer>)> = if let [only] = runs.as_slice() {
        vec![work.run(&grouped.order, only)?]
    } else {
        std::thread::scope(|scope| {
            let handles: Vec<_> =
                runs.iter().map(|run| scope.spawn(|| work.run(&grouped.order, run))).collect();
            handles
                .into_iter()
                .map(|h| h.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect::<Result<_>>()
        })?
    };
    for (order, columns) in done {
        let mut columns = columns.into_iter();
        for (target, column) in read.targets.iter().zip(&mut columns) {
            slots.columns[target.1].scatter(column, &order);
        }
        newest.iter_mut().zip(columns).for_each(|(newest, column)| newest.scatter(column, &order));
    }
    Ok(newest)
}

/// One read, shared by the threads that do parts of it.
struct Work<'a> {
    read: &'a Read,
    snapshot: &'a Snapshot,
    keys: &'a RowKeys,
    frame: &'a Frame,
    /// The features' types, which may be wider than the fields'; one more is that of the newest events.
    types: Vec<DataType>,
}

impl Work<'_> {
    /// The rows of some groups, and the targets' columns in that order.
    fn run(&self, order: &[u32], groups: &[Range<usize>]) -> Result<(Vec<u32>, Vec<ColumnBuffer>)> {
        let (Some(first), Some(last)) = (groups.first(), groups.last()) else {
            return Ok(Default::default());
        };
        let rows = &order[first.start..last.end];
        let mut columns = self.nulls(rows.len());
        for group in groups {
            let members = &order[group.clone()];
            self.fill(members, group.start - first.start, &mut columns)?;
        }
        Ok((rows.to_vec(), columns))
    }

    fn group(&self, rows: &[u32]) -> Result<Vec<ColumnBuffer>> {
        let mut columns = self.nulls(rows.len());
        self.fill(rows, 0, &mut columns)?;
        Ok(columns)
    }

    fn nulls(&self, rows: usize) -> Vec<ColumnBuffer> {
        self.types.iter().map(|t| ColumnBuffer::nulls(*t, rows)).collect()
    }

    /// The `(T, S)` of some rows.
    fn at(&self, rows: &[u32]) -> Vec<(EventTime, Position)> {
        let position = |row: u32| match &self.frame.positions {
            None => self.snapshot.position,
            Some(each) => each[row as usize].min(self.snapshot.position),
        };
        rows.iter().map(|&row| (self.frame.times[row as usize], position(row))).collect()
    }

    /// One entity's rows, in ascending time, into `columns` from `offset` on.
    fn fill(&self, rows: &[u32], offset: usize, columns: &mut [ColumnBuffer]) -> Result<()> {
        self.fill_values(rows, offset, columns)?;
        let Some(newest) = columns.get_mut(self.read.targets.len()) else { return Ok(()) };
        let key = self.keys.get(rows[0] as usize);
        let mut sink = |i: usize, time: EventTime| newest.set(offset + i, Value::Datetime(time.0));
        self.snapshot.newest_events(&self.read.node, key, &self.at(rows), &mut sink)
    }

    fn fill_values(&self, rows: &[u32], offset: usize, columns: &mut [ColumnBuffer]) -> Result<()> {
        let (node, snapshot) = (&self.read.node, self.snapshot);
        let key = self.keys.get(rows[0] as usize);
        let time = |row: u32| self.frame.times[row as usize];
        for ((source, _), column) in self.read.targets.iter().zip(columns.iter_mut()) {
            for (i, &row) in rows.iter().enumerate() {
                match *source {
                    Source::Key(part) => {
                        column.set(offset + i, self.frame.entity[self.read.key[part]].get(row as usize))
                    }
                    Source::Timestamp if !node.is_index() => {
                        column.set(offset + i, Value::Datetime(time(row).0))
                    }
                    _ => {}
                }
            }
        }
        if node.is_index() {
            return snapshot.latest_rows(node, key, &self.at(rows), &mut |i, (at, values)| {
                for ((source, _), column) in self.read.targets.iter().zip(columns.iter_mut()) {
                    match *source {
                        Source::Timestamp => column.set(offset + i, Value::Datetime(at.0)),
                        Source::Value(index) => column.set(offset + i, values[index].clone()),
                        Source::Key(_) => {}
                    }
                }
            });
        }
        let targets = self.read.targets.iter().enumerate();
        let (places, wanted): (Vec<usize>, Vec<usize>) = targets
            .filter_map(|(place, (source, _))| match source {
                Source::Value(index) => Some((place, *index)),
                _ => None,
            })
            .unzip();
        let mut sink = |row: usize, output: usize, value| columns[places[output]].set(offset + row, value);
        if self.frame.positions.is_some() {
            // What is visible changes from row to row, which summaries take account of and a sweep does not.
            return snapshot.outputs_at(node, key, &self.at(rows), &wanted, &mut sink);
        }
        if let [row] = rows {
            return snapshot.outputs_at(node, key, &[(time(*row), snapshot.position)], &wanted, &mut sink);
        }
        let times: Vec<EventTime> = rows.iter().map(|&row| time(row)).collect();
        snapshot.sweep(node, key, &times, &wanted, &mut sink)
    }
}
