//! What a store needs of whatever keeps its bytes.

use std::fmt::Debug;

use thyme_core::error::Result;

/// A byte string that is cheap to clone.
pub type Bytes = fjall::Slice;

/// Keys and values in the order of the keys.
pub type Pairs = Box<dyn Iterator<Item = Result<(Bytes, Bytes)>> + Send>;

/// A value to write under a key, or a key to remove.
#[derive(Clone, Debug)]
pub struct Write {
    /// The place.
    pub key: Bytes,
    /// What it holds from now on; `None` removes it.
    pub value: Option<Bytes>,
}

/// Ordered keys and values, written in atomic batches.
///
/// It knows nothing of what they mean: the store's format, its checksums and the numbers that show a lost
/// batch are made above it, in [`Store`](crate::Store), for every backend alike.
pub trait Backend: Send + Sync + Debug {
    /// Writes all of `writes`, which are at different keys, or nothing of it; durable when this returns.
    ///
    /// # Errors
    /// Nothing of it will be seen before a restart. `StorageFull`: writes are taken again once there is space.
    /// `Unavailable`: not before a restart.
    fn write(&self, writes: Vec<Write>) -> Result<()>;

    /// As [`Backend::write`], but it may become durable only together with the next write that is: a crash
    /// loses it and all later ones, or none of them.
    ///
    /// # Errors
    /// As [`Backend::write`].
    fn write_soon(&self, writes: Vec<Write>) -> Result<()> {
        self.write(writes)
    }

    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// What stands under the keys that begin with `prefix`, as of the time of the call.
    fn scan(&self, prefix: &[u8]) -> Pairs;

    /// The first key at or after `start`.
    fn first(&self, start: &[u8]) -> Result<Option<Bytes>>;

    /// The bytes it takes, on disk or in memory.
    fn bytes(&self) -> u64;

    /// Makes sure that what was removed or written over is nowhere any more. Nothing is written meanwhile. A
    /// backend that keeps nothing of it has nothing to do.
    ///
    /// # Errors
    /// `StorageFull` and `Unavailable`: it is as it was.
    fn renew(&self) -> Result<()> {
        Ok(())
    }

    /// Lets go of its place. A backend without files has nothing to do.
    fn close(&self) {}

    /// Where it is, for messages.
    fn place(&self) -> String;
}
