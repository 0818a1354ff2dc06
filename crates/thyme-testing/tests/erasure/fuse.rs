//! A disk and a store that fail for good after so many changes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use thyme_core::Result;
use thyme_engine::Parts;
use thyme_log::{Disk, DiskFile};
use thyme_store::{Backend, Bytes, Pairs, Write};

/// How many more changes reach the disk or the store before everything fails.
#[derive(Clone, Debug)]
pub struct Fuse(Arc<AtomicI64>);

impl Fuse {
    /// From here on so many changes are made.
    pub fn set(&self, budget: i64) {
        self.0.store(budget, Ordering::SeqCst);
    }

    fn burn(&self) -> io::Result<()> {
        match self.0.fetch_sub(1, Ordering::SeqCst) > 0 {
            true => Ok(()),
            false => Err(io::Error::other("the power is gone")),
        }
    }
}

/// The parts with a fuse, which does not burn yet.
pub fn fused(solid: &Parts) -> (Parts, Fuse) {
    let fuse = Fuse(Arc::new(AtomicI64::new(i64::MAX)));
    let log = Arc::new(FusedDisk(solid.log.clone(), fuse.clone()));
    let store = Arc::new(FusedStore(solid.store.clone(), fuse.clone()));
    (Parts { log, log_options: solid.log_options, store }, fuse)
}

#[derive(Debug)]
struct FusedDisk(Arc<dyn Disk>, Fuse);
#[derive(Debug)]
struct FusedFile(Arc<dyn DiskFile>, Fuse);
#[derive(Debug)]
struct FusedStore(Arc<dyn Backend>, Fuse);

impl Disk for FusedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.1.burn()?;
        Ok(Arc::new(FusedFile(self.0.create(name)?, self.1.clone())))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FusedFile(self.0.open(name)?, self.1.clone())))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.1.burn()?;
        self.0.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.1.burn()?;
        self.0.rename(from, to)
    }
    fn sync_names(&self) -> io::Result<()> {
        self.1.burn()
    }
    fn path(&self, name: &str) -> String {
        self.0.path(name)
    }
}

impl DiskFile for FusedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1.burn()?;
        self.0.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.burn()
    }
    fn set_length(&self, length: u64) -> io::Result<()> {
        self.1.burn()?;
        self.0.set_length(length)
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

impl Backend for FusedStore {
    fn write(&self, writes: Vec<Write>) -> Result<()> {
        self.1.burn().map_err(|io| thyme_core::Error::unavailable(io.to_string()))?;
        self.0.write(writes)
    }
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.0.get(key)
    }
    fn scan(&self, prefix: &[u8]) -> Pairs {
        self.0.scan(prefix)
    }
    fn first(&self, start: &[u8]) -> Result<Option<Bytes>> {
        self.0.first(start)
    }
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
    fn renew(&self) -> Result<()> {
        self.1.burn().map_err(|io| thyme_core::Error::unavailable(io.to_string()))?;
        self.0.renew()
    }
    fn place(&self) -> String {
        self.0.place()
    }
}
