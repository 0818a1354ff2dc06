//! A store's bytes in memory, behind a disk that fails.

use std::sync::Arc;

use parking_lot::Mutex;
use thyme_core::{Error, ErrorKind, Result};
use thyme_store::{Backend, Bytes, MemoryStore, Pairs, Write};

use crate::disk::Power;
use crate::random::Random;

/// A [`Backend`] that is whole or not at all, whatever happens. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimStore {
    kept: Arc<MemoryStore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    power: Option<Power>,
    is_full: bool,
    is_broken: bool,
    reads: Reads,
    /// Reads that still succeed before.
    reads_left: u64,
    /// Written when the power went off: there or not, as the next life finds out.
    cut: Option<Vec<Write>>,
}

/// What becomes of reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// They succeed.
    #[default]
    Fine,
    /// They fail, as those of a disk do that is dying.
    Fail,
    /// They panic, as a library may over what it did not expect.
    Panic,
}

impl SimStore {
    /// What the next life finds.
    pub fn after_power_cut(&self, random: &mut Random, power: &Power) -> SimStore {
        let cut = self.state.lock().cut.take();
        if let Some(writes) = cut.filter(|_| random.chance(50)) {
            let _ = self.kept.write(writes);
        }
        let state = State { power: Some(power.clone()), ..State::default() };
        SimStore { kept: self.kept.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// Whether there is no room for more.
    pub fn fill(&self, is_full: bool) {
        self.state.lock().is_full = is_full;
    }

    /// What becomes of reads from now on.
    pub fn read_as(&self, reads: Reads) {
        self.read_as_after(0, reads);
    }

    /// [`SimStore::read_as`], once `left` more have succeeded.
    pub fn read_as_after(&self, left: u64, reads: Reads) {
        let mut state = self.state.lock();
        (state.reads, state.reads_left) = (reads, left);
    }

    fn begin_read(&self) -> Result<()> {
        let reads = {
            let mut state = self.state.lock();
            let is_fine = state.reads_left > 0;
            state.reads_left = state.reads_left.saturating_sub(1);
            if is_fine { Reads::Fine } else { state.reads }
        };
        match reads {
            Reads::Fine => Ok(()),
            Reads::Fail => Err(Error::unavailable("the disk cannot be read")),
            Reads::Panic => panic!("the store met what it did not expect"),
        }
    }

    /// No write succeeds any more in this life.
    pub fn break_down(&self) {
        self.state.lock().is_broken = true;
    }
}

impl Backend for SimStore {
    fn write(&self, writes: Vec<Write>) -> Result<()> {
        let mut state = self.state.lock();
        if state.is_broken {
            return Err(Error::unavailable("the store takes no more writes"));
        }
        if state.is_full {
            return Err(Error::new(ErrorKind::StorageFull, "no space is left for the store"));
        }
        let spent = state.power.as_ref().map_or(Ok(false), Power::spend);
        match spent {
            Ok(false) => self.kept.write(writes),
            Ok(true) => {
                state.cut = Some(writes);
                Err(Error::unavailable("the power is off"))
            }
            Err(io) => Err(Error::unavailable(io.to_string())),
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.begin_read()?;
        self.kept.get(key)
    }

    fn scan(&self, prefix: &[u8]) -> Pairs {
        match self.begin_read() {
            Ok(()) => self.kept.scan(prefix),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn first(&self, start: &[u8]) -> Result<Option<Bytes>> {
        self.begin_read()?;
        self.kept.first(start)
    }

    fn bytes(&self) -> u64 {
        self.kept.bytes()
    }

    fn place(&self) -> String {
        "the simulator".to_owned()
    }
}
