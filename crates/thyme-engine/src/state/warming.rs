//! Filling memory after a start.

use thyme_core::{Error, ErrorKind, Result};

use super::{NodeState, hash_key, stripe_of};
use crate::stripe::Loaded;

/// So many entities of a node that cannot be read are named; of others it is said how many there are.
const FAULTS_NAMED_MAX: usize = 8;

/// Entities that cannot be read. The others are not kept from memory by them.
#[derive(Default)]
struct Faults {
    named: Vec<Error>,
    others: usize,
}

impl Faults {
    fn note(&mut self, error: Error) {
        match self.named.len() < FAULTS_NAMED_MAX {
            true => self.named.push(error),
            false => self.others += 1,
        }
    }

    fn told(mut self, dataset: &str) -> Vec<Error> {
        if self.others > 0 {
            let kind = self.named.last().map_or(ErrorKind::Corrupt, Error::kind);
            let told = format!("{dataset}: {} more entities could not be read", self.others);
            self.named.push(Error::new(kind, told));
        }
        self.named
    }
}

impl NodeState {
    /// Fills memory with what the store has while there is room; stops when `stop` says so. When
    /// everything fits, the store is not asked any more. Gives what could not be read.
    pub fn warm(&self, stop: &dyn Fn() -> bool) -> Vec<Error> {
        let mut faults = Faults::default();
        if let Err(error) = self.fill_memory(stop, &mut faults) {
            faults.note(error);
        }
        faults.told(&self.dataset)
    }

    fn fill_memory(&self, stop: &dyn Fn() -> bool, faults: &mut Faults) -> Result<()> {
        let drops: Vec<u64> = self.stripes.iter().map(|stripe| stripe.read().drops).collect();
        if self.stripes.iter().all(|stripe| stripe.read().complete) {
            return Ok(());
        }
        // Stripes of which not all is in memory.
        let mut lacking = vec![false; drops.len()];
        let mut whole = true;
        let longer = self.each_stored_up_to(self.residence.longest(), &mut |key, timeline| {
            whole = !stop() && self.residence.has_room_for(0);
            if !whole {
                return Ok(false);
            }
            let Some(key) = key else {
                // It may be of any of them.
                lacking.fill(true);
                timeline.err().into_iter().for_each(|error| faults.note(error));
                return Ok(true);
            };
            let hash = hash_key(key);
            let index = stripe_of(hash);
            match timeline {
                Ok(timeline) if self.residence.has_room_for(timeline.bytes()) => {
                    // A stripe that is poisoned stays so.
                    let _ = self.change(index, format_args!("memory was filled"), |stripe| {
                        // Otherwise it may have been changed, written and dropped since it was read.
                        if stripe.drops == drops[index] {
                            stripe.place(Loaded { hash, key: key.into(), timeline: Some(timeline) }, false);
                            stripe.settle(&self.residence);
                        }
                    });
                    self.residence.note_warmed();
                }
                // There is room for shorter ones.
                Ok(_) => lacking[index] = true,
                Err(error) => {
                    lacking[index] = true;
                    faults.note(error);
                }
            }
            Ok(true)
        })?;
        if !whole {
            return Ok(());
        }
        longer.iter().for_each(|key| lacking[stripe_of(hash_key(key))] = true);
        for ((stripe, drops), lacks) in self.stripes.iter().zip(drops).zip(lacking) {
            let mut stripe = stripe.write();
            stripe.complete |= stripe.drops == drops && !lacks;
        }
        // So that not even the first read of one takes long.
        for key in longer.iter().take_while(|_| !stop() && self.residence.has_room_for(0)) {
            if let Err(error) = self.outline(key) {
                faults.note(error);
            }
        }
        Ok(())
    }
}
