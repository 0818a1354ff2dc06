//! Taking an entity's rows out of what was made of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::UInt32Array;
use foldhash::fast::FixedState;
use thyme_core::{EventTime, Position, Result};
use thyme_timeline::Timeline;

use super::scan::Found;
use crate::catalog::Catalog;
use crate::event_ids;
use crate::feed::Incoming;
use crate::node::{Admitted, Node, NodeRows};

/// Removes what the nodes of `catalog` made of the rows that go of record `record`, but for those that derive rows again. They
/// go wherever they are grouped, by whatever key; a row that never got there, being late or filtered, does no
/// harm. `at` is before the erasure's record.
///
/// # Errors
/// Those of a node's operators.
pub(crate) fn remove(catalog: &Catalog, record: u64, found: &Found, at: Position) -> Result<()> {
    claims(catalog, found).map_or(Ok(()), |claims| event_ids::lose(claims, record, &found.losses))?;
    if found.rows.is_empty() {
        return Ok(());
    }
    let numbers = Some(UInt32Array::from(found.rows.clone()));
    let admitted = &Admitted { numbers, ..Admitted::default() };
    let incoming = Incoming { dataset: found.dataset, number: record, batch: &found.gone, admitted };
    let indexes: Vec<&Arc<Node>> = catalog.joined(found.dataset).collect();
    let is_index = |node: &&Arc<Node>| indexes.iter().any(|index| index.id == node.id);
    let others = catalog.fed_by(found.dataset).filter(|node| !is_index(node));
    for node in others.chain(indexes.iter().copied()).filter(|node| node.is_stateless()) {
        if let Some(made) = node.process(incoming, &[])? {
            remove_from(node, &made, at)?;
        }
    }
    Ok(())
}

/// Says of all duplicates of what goes that they are some.
///
/// # Errors
/// A timeline that cannot be read.
pub(crate) fn void_duplicates(catalog: &Catalog, found: &BTreeMap<u64, Found>) -> Result<()> {
    found.iter().try_for_each(|(record, found)| match claims(catalog, found) {
        Some(claims) => event_ids::void(claims, *record, &found.losses),
        None => Ok(()),
    })
}

fn claims<'a>(catalog: &'a Catalog, found: &Found) -> Option<&'a Arc<Node>> {
    catalog.by_id(found.dataset).and_then(|live| live.ids.as_ref())
}

/// Takes out what was left of duplicates that went, so that no restart before the erasure's record counts them, and gives
/// the nodes that had any.
///
/// # Errors
/// A timeline that cannot be read.
pub(crate) fn forget_duplicates(catalog: &Catalog, found: &BTreeMap<u64, Found>) -> Result<Vec<Arc<Node>>> {
    let mut changed: Vec<Arc<Node>> = Vec::new();
    for (record, found) in found {
        let Some(claims) = claims(catalog, found) else { continue };
        let is_new = event_ids::forget_gone(claims, *record, &found.losses)?
            && changed.iter().all(|node| node.id != claims.id);
        changed.extend(is_new.then(|| claims.clone()));
    }
    Ok(changed)
}

fn remove_from(node: &Node, made: &NodeRows, at: Position) -> Result<()> {
    let mut by_key: HashMap<&[u8], HashSet<(i64, u64), FixedState>, FixedState> = HashMap::default();
    for (row, place) in made.batch.times.iter().zip(&made.batch.positions).enumerate() {
        by_key.entry(made.key(row)).or_default().insert((*place.0, *place.1));
    }
    for (key, places) in by_key {
        let gone = |time: EventTime, position: Position| places.contains(&(time.0, position.to_bits()));
        node.state.edit(key, at, &mut |timeline| {
            timeline.remove(&node.layout, &gone);
        })?;
    }
    Ok(())
}

/// Takes out of all timelines what is in them and nobody can read any more: a row stays a while after its retention
/// has passed, until removing it is worth making its chunk anew. `at` is before the erasure's record.
///
/// # Errors
/// A timeline that cannot be read.
pub(crate) fn forget_unread(catalog: &Catalog, at: Position) -> Result<()> {
    let readable = catalog.datasets.values().filter_map(|live| live.node.as_ref());
    let indexes = catalog.datasets.values().filter_map(|live| live.joined.as_ref());
    for node in readable.chain(indexes) {
        let Some(until) = node.removed_until() else { continue };
        let parts = node.parts().map(|part| (part, node.parts_until(until)));
        for (part, until) in parts.chain([(node, until)]) {
            let gone = |time: EventTime, _| time <= until;
            part.state.each_where(&|timeline| timeline.begins_until(until), &Err, &mut |keys| {
                for key in keys {
                    part.state.edit(&key, at, &mut |timeline: &mut Timeline| {
                        timeline.remove(&part.layout, &gone);
                    })?;
                    part.state.relieve();
                }
                Ok(true)
            })?;
        }
    }
    Ok(())
}
