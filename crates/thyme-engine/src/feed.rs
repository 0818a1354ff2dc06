//! What a record gives to which nodes.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use thyme_core::{EventTime, Result};

use crate::catalog::Catalog;
use crate::flow::Flow;
use crate::node::{Admitted, Node, NodeRows};

/// A record's rows with the verdicts on them.
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub dataset: u32,
    pub number: u64,
    pub batch: &'a RecordBatch,
    pub admitted: &'a Admitted,
}

/// A record on its way into a node.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub incoming: Incoming<'a>,
    /// Where the node begins, if that is not at the beginning of its input.
    pub begins: Option<EventTime>,
}

impl Entry<'_> {
    /// The admitted rows, if they are of dataset `id`; `timestamp` is what it calls the event time.
    pub fn rows_of(&self, id: u32, timestamp: &str) -> Result<Option<Flow>> {
        let Incoming { dataset, number, batch, admitted } = self.incoming;
        if dataset != id {
            return Ok(None);
        }
        let mut rows = Flow::of_record(batch.clone(), number, admitted.numbers.clone(), timestamp);
        if let Some(kept) = &admitted.kept {
            rows.keep(&BooleanArray::new(kept.clone(), None))?;
        }
        if let Some(begins) = self.begins {
            let times = rows.places()?.times;
            rows.keep(&times.iter().map(|time| Some(*time > begins.0)).collect())?;
        }
        Ok(Some(rows))
    }
}

/// A record's rows as the indexes that joins read have them.
pub(crate) type Rights = [(Arc<Node>, Option<NodeRows>)];

/// What a record gives to the indexes that joins read.
pub(crate) fn rights(catalog: &Catalog, incoming: Incoming<'_>) -> Result<Box<Rights>> {
    let indexes = catalog.joined(incoming.dataset);
    indexes.map(|index| Ok((index.clone(), index.process(incoming, &[])?))).collect()
}

/// Runs the operators of all nodes of `catalog` that take the record's rows, or of those of `only`, and gives
/// what the shards have to do. What joins keep for themselves is written here and now.
pub(crate) fn feed(
    catalog: &Catalog,
    only: Option<&[Arc<Node>]>,
    incoming: Incoming<'_>,
) -> Result<Vec<(Arc<Node>, Arc<NodeRows>)>> {
    let is_meant = |node: &Arc<Node>| only.is_none_or(|only| only.iter().any(|n| n.id == node.id));
    let rights = rights(catalog, incoming)?;
    for (index, rows) in rights.iter().filter(|(index, _)| is_meant(index)) {
        rows.as_ref().map_or(Ok(()), |rows| index.write(rows))?;
    }
    let mut work = Vec::new();
    let is_written = |node: &Arc<Node>| rights.iter().any(|(index, _)| index.id == node.id);
    for node in catalog.fed_by(incoming.dataset).filter(|node| is_meant(node) && !is_written(node)) {
        if let Some(rows) = node.process(incoming, &rights)? {
            work.push((node.clone(), Arc::new(rows)));
        }
    }
    Ok(work)
}
