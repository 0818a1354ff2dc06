//! A disk in memory that fails, fills up, is slow and loses power on demand.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use thyme_log::{Disk, DiskFile};

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Bytes {
    /// What a read sees.
    now: Vec<u8>,
    /// What is sure to survive a power cut.
    durable: Vec<u8>,
    /// Whether the name is.
    named: bool,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Bytes>,
    removed: BTreeMap<String, Bytes>,
    /// By the new name: the old name, and the file that had the new one.
    renamed: BTreeMap<String, (String, Option<Bytes>)>,
    sync_fails: bool,
    write_fails: bool,
    truncate_fails: bool,
    capacity: Option<usize>,
    power: Option<Power>,
    slow: Option<Slow>,
}

/// What happens elsewhere while a write is on its way.
#[derive(Clone)]
struct Slow(Arc<dyn Fn() + Send + Sync>);

impl Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

/// The power of a machine, shared by what is plugged into it. It may go off in the middle of a write.
#[derive(Clone, Debug, Default)]
pub struct Power(Arc<Mutex<Supply>>);

#[derive(Debug, Default)]
struct Supply {
    is_off: bool,
    writes_left: Option<u64>,
}

impl Power {
    /// Goes off in the middle of the write after the next `writes`.
    pub fn off_after(&self, writes: u64) {
        self.0.lock().writes_left = Some(writes);
    }

    /// Goes off now.
    pub fn off(&self) {
        self.0.lock().is_off = true;
    }

    /// Whether it is off.
    pub fn is_off(&self) -> bool {
        self.0.lock().is_off
    }

    /// Counts a write; true when this is the one in whose middle the power goes off.
    ///
    /// # Errors
    /// It is off already.
    pub fn spend(&self) -> io::Result<bool> {
        let mut supply = self.0.lock();
        if supply.is_off {
            return Err(io::Error::other("the power is off"));
        }
        match supply.writes_left {
            Some(0) => supply.is_off = true,
            Some(left) => supply.writes_left = Some(left - 1),
            None => {}
        }
        Ok(supply.is_off)
    }
}

/// A directory in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct FaultyFile(FaultyDisk, String);

fn off() -> io::Error {
    io::Error::other("the power is off")
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl FaultyDisk {
    /// Plugs it in.
    pub fn plug_into(&self, power: &Power) {
        self.0.lock().power = Some(power.clone());
    }

    /// Has `meanwhile` run in the middle of every write and every sync.
    pub fn slow_down(&self, meanwhile: Option<Arc<dyn Fn() + Send + Sync>>) {
        self.0.lock().slow = meanwhile.map(Slow);
    }

    /// Bytes of all files.
    pub fn used(&self) -> usize {
        self.0.lock().files.values().map(|file| file.now.len()).sum()
    }

    /// Lets time pass in the middle of a write or sync; true when the power goes off there.
    fn middle(&self) -> io::Result<bool> {
        let slow = self.0.lock().slow.clone();
        if let Some(Slow(meanwhile)) = slow {
            meanwhile();
        }
        let power = self.0.lock().power.clone();
        power.map_or(Ok(false), |power| power.spend())
    }

    /// Whether every sync fails from now on.
    pub fn fail_sync(&self, fails: bool) {
        self.0.lock().sync_fails = fails;
    }

    /// Whether every write does.
    pub fn fail_write(&self, fails: bool) {
        self.0.lock().write_fails = fails;
    }

    /// Whether every change of a length does.
    pub fn fail_truncate(&self, fails: bool) {
        self.0.lock().truncate_fails = fails;
    }

    /// How many bytes it holds.
    pub fn limit(&self, capacity: Option<usize>) {
        self.0.lock().capacity = capacity;
    }

    /// Whether it holds only so many.
    pub fn is_limited(&self) -> bool {
        self.0.lock().capacity.is_some()
    }

    /// Its files.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().files.keys().cloned().collect()
    }

    /// What a file holds; nothing if there is none.
    pub fn contents(&self, name: &str) -> Vec<u8> {
        self.0.lock().files.get(name).map_or(Vec::new(), |file| file.now.clone())
    }

    /// Makes a file durable with these bytes.
    pub fn replace(&self, name: &str, bytes: &[u8]) {
        let file = Bytes { now: bytes.to_vec(), durable: bytes.to_vec(), named: true };
        self.0.lock().files.insert(name.to_owned(), file);
    }

    /// Loses a file.
    pub fn take(&self, name: &str) {
        self.0.lock().files.remove(name);
    }

    /// A disk with the same bytes that shares nothing with this one.
    pub fn copy(&self) -> FaultyDisk {
        let copy = FaultyDisk::default();
        copy.0.lock().files = self.0.lock().files.clone();
        copy
    }

    /// What is left after a power cut, as `below` decides (any number below the one it is given):
    /// any of the sectors, lengths and names that were not synced.
    pub fn after_power_cut(&self, below: &mut dyn FnMut(u64) -> u64) -> FaultyDisk {
        let state = self.0.lock();
        let left = FaultyDisk::default();
        let mut files = state.files.clone();
        for (to, (from, old)) in &state.renamed {
            // Either of the two has the name; the new file may have its old one still.
            if below(2) == 0
                && let Some(new) = files.remove(to)
            {
                files.insert(from.clone(), new);
                files.extend(old.clone().map(|old| (to.clone(), old)));
            }
        }
        for (name, file) in files.iter().chain(&state.removed) {
            let removed = state.removed.contains_key(name);
            if (removed || !file.named) && below(2) == 0 {
                continue;
            }
            let mut bytes = file.durable.clone();
            if file.now.len() != bytes.len() {
                let (low, high) = (file.now.len().min(bytes.len()), file.now.len().max(bytes.len()));
                let length = match below(4) {
                    0 => bytes.len(),
                    1 => low + below((high - low + 1) as u64) as usize,
                    _ => file.now.len(),
                };
                bytes.resize(length, 0);
            }
            let share = below(5);
            for (at, sector) in bytes.chunks_mut(SECTOR).enumerate() {
                let written = file.now.get(at * SECTOR..).unwrap_or_default();
                let count = sector.len().min(written.len());
                if below(4) < share {
                    sector[..count].copy_from_slice(&written[..count]);
                }
            }
            left.replace(name, &bytes);
        }
        left
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.middle()?;
        let mut state = self.0.lock();
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(name.to_owned(), Bytes::default());
        Ok(Arc::new(FaultyFile(self.clone(), name.to_owned())))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.lock().files.get(name).ok_or_else(not_found)?;
        Ok(Arc::new(FaultyFile(self.clone(), name.to_owned())))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if self.middle()? {
            return Err(off());
        }
        let mut state = self.0.lock();
        let file = state.files.remove(name).ok_or_else(not_found)?;
        if file.named {
            state.removed.insert(name.to_owned(), file);
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if self.middle()? {
            return Err(off());
        }
        let mut state = self.0.lock();
        let mut file = state.files.remove(from).ok_or_else(not_found)?;
        file.named = true;
        let old = state.files.insert(to.to_owned(), file);
        state.renamed.insert(to.to_owned(), (from.to_owned(), old));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        if self.middle()? {
            return Err(off());
        }
        let mut state = self.0.lock();
        if state.sync_fails {
            return Err(io::Error::other("the disk is gone"));
        }
        state.files.values_mut().for_each(|file| file.named = true);
        state.removed.clear();
        state.renamed.clear();
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        format!("mem/{name}")
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.0.0.lock();
        let bytes = &state.files.get(&self.1).ok_or_else(not_found)?.now;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let cut = self.0.middle()?;
        let mut state = self.0.0.lock();
        if state.write_fails {
            return Err(io::Error::other("the disk is gone"));
        }
        let used: usize = state.files.values().map(|file| file.now.len()).sum();
        let room = state.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(used));
        let file = state.files.get_mut(&self.1).ok_or_else(not_found)?;
        let fits = bytes.len().min(room);
        let end = offset as usize + fits;
        if file.now.len() < end {
            file.now.resize(end, 0);
        }
        file.now[offset as usize..end].copy_from_slice(&bytes[..fits]);
        if cut {
            return Err(off());
        }
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        if self.0.middle()? {
            return Err(off());
        }
        let mut state = self.0.0.lock();
        if state.sync_fails {
            return Err(io::Error::other("the disk is gone"));
        }
        let file = state.files.get_mut(&self.1).ok_or_else(not_found)?;
        file.durable = file.now.clone();
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        if self.0.middle()? {
            return Err(off());
        }
        let mut state = self.0.0.lock();
        if state.truncate_fails {
            return Err(io::Error::other("the disk is gone"));
        }
        state.files.get_mut(&self.1).ok_or_else(not_found)?.now.resize(length as usize, 0);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().files.get(&self.1).ok_or_else(not_found)?.now.len() as u64)
    }
}
