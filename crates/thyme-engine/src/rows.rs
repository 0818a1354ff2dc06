//! The rows of one record for one node.

use std::fmt;

use arrow::array::BooleanArray;
use thyme_core::{Position, Result};
use thyme_timeline::Batch;

use crate::keys::Keys;
use crate::state::{STRIPES, hash_key, stripe_of};

/// The rows of one record for one node, grouped by stripe.
pub(crate) struct NodeRows {
    pub batch: Batch,
    pub hashes: Vec<u64>,
    keys: Keys,
    order: Vec<u32>,
    starts: [u32; STRIPES + 1],
}

impl fmt::Debug for NodeRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRows").field("rows", &self.order.len()).finish()
    }
}

impl NodeRows {
    pub fn new(batch: Batch, keys: Keys) -> NodeRows {
        let hashes: Vec<u64> = (0..batch.len()).map(|row| hash_key(keys.get(row))).collect();
        let (order, starts) = by_stripe(&hashes);
        NodeRows { batch, hashes, keys, order, starts }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The same rows, moved so that those of a stripe stand together. Whoever goes over many records a stripe at a
    /// time reads them in the order that they have in memory.
    ///
    /// # Errors
    /// More bytes of strings than a column can hold.
    pub fn together(&self) -> Result<NodeRows> {
        Ok(NodeRows {
            batch: self.batch.take(&self.order)?,
            hashes: self.order.iter().map(|row| self.hashes[*row as usize]).collect(),
            keys: self.keys.pick(&self.order),
            order: (0..self.order.len() as u32).collect(),
            starts: self.starts,
        })
    }

    /// Bytes of memory, but for strings that are not in keys.
    pub fn bytes(&self) -> usize {
        const ROW_BYTES: usize = 3 * size_of::<u64>() + 2 * size_of::<u32>();
        let rows = self.batch.len() * (ROW_BYTES + self.batch.columns.len() * size_of::<u64>());
        size_of::<NodeRows>() + rows + self.keys.bytes()
    }

    /// Which rows are left without those that change nothing: a version that ends where the same comes again.
    /// `None`: all.
    pub fn changing(&self) -> Option<BooleanArray> {
        let changes = self.batch.changes.as_ref()?;
        let mut left = vec![true; self.len()];
        for row in 1..left.len() {
            let ends = changes.ends.value(row - 1) && !changes.ends.value(row);
            if ends && changes.at[row - 1] == changes.at[row] && self.is_same(row - 1, row) {
                (left[row - 1], left[row]) = (false, false);
            }
        }
        left.contains(&false).then(|| BooleanArray::from(left))
    }

    /// Whether two rows say the same of one event.
    fn is_same(&self, one: usize, other: usize) -> bool {
        let Batch { positions, columns, predicates, .. } = &self.batch;
        positions[one] == positions[other]
            && self.key(one) == self.key(other)
            && columns.iter().all(|column| column.is_same(one, other))
            && predicates.iter().all(|verdicts| verdicts.value(one) == verdicts.value(other))
    }

    /// The record that brings a row.
    pub fn record(&self, row: usize) -> u64 {
        let at = self.batch.changes.as_ref().map_or(&self.batch.positions, |changes| &changes.at);
        at.get(row).map_or(0, |at| Position::from_bits(*at).record())
    }

    /// Leaves out the rows of other entities than those that `keep` names.
    pub fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        let (mut order, mut starts) = (Vec::new(), [0; STRIPES + 1]);
        for stripe in 0..STRIPES {
            order.extend(self.of_stripe(stripe).iter().filter(|row| keep(self.key(**row as usize))));
            starts[stripe + 1] = order.len() as u32;
        }
        (self.order, self.starts) = (order, starts);
    }

    /// The rows of a stripe, in log order.
    pub fn of_stripe(&self, stripe: usize) -> &[u32] {
        &self.order[self.starts[stripe] as usize..self.starts[stripe + 1] as usize]
    }

    /// The encoded key of a row.
    pub fn key(&self, row: usize) -> &[u8] {
        self.keys.get(row)
    }
}

/// Row numbers grouped by stripe, in row order inside a stripe, and where each stripe starts.
fn by_stripe(hashes: &[u64]) -> (Vec<u32>, [u32; STRIPES + 1]) {
    let mut starts = [0u32; STRIPES + 1];
    for &hash in hashes {
        starts[stripe_of(hash) + 1] += 1;
    }
    for stripe in 0..STRIPES {
        starts[stripe + 1] += starts[stripe];
    }
    let mut next = starts;
    let mut order = vec![0u32; hashes.len()];
    for (row, &hash) in hashes.iter().enumerate() {
        let slot = &mut next[stripe_of(hash)];
        order[*slot as usize] = row as u32;
        *slot += 1;
    }
    (order, starts)
}
