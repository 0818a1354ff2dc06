//! The outlines of entities that are too long for memory.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use thyme_timeline::Outline;

use crate::residence::Residence;

/// An outline that readers share. As long as anybody has it, the residence knows what it takes, which changes with
/// every read that fills chunks.
#[derive(Debug)]
pub(crate) struct Sketch {
    outline: Mutex<Outline>,
    /// What the residence was told.
    noted: AtomicUsize,
    residence: Arc<Residence>,
}

/// An outline in the hands of one reader. Given back, however the read ends, it has no more filled chunks than may stay.
pub(crate) struct Held<'a> {
    sketch: &'a Sketch,
    outline: MutexGuard<'a, Outline>,
}

impl Sketch {
    pub fn new(outline: Outline, residence: &Arc<Residence>) -> Arc<Sketch> {
        let (noted, residence) = (AtomicUsize::new(0), residence.clone());
        let sketch = Arc::new(Sketch { outline: Mutex::new(outline), noted, residence });
        drop(sketch.hold());
        sketch
    }

    /// Waits until nobody else holds it.
    pub fn hold(&self) -> Held<'_> {
        Held { sketch: self, outline: self.outline.lock() }
    }

    /// Bytes of memory, as the residence was told.
    pub fn bytes(&self) -> usize {
        self.noted.load(Ordering::Acquire)
    }

    fn note(&self, bytes: usize) {
        self.residence.note_bytes(self.noted.swap(bytes, Ordering::AcqRel), bytes);
    }
}

impl Drop for Sketch {
    fn drop(&mut self) {
        self.note(0);
    }
}

impl Held<'_> {
    /// Tells the residence what it takes now.
    pub fn note(&self) {
        self.sketch.note(size_of::<Sketch>() - size_of::<Outline>() + self.outline.bytes());
    }
}

impl Deref for Held<'_> {
    type Target = Outline;

    fn deref(&self) -> &Outline {
        &self.outline
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Outline {
        &mut self.outline
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.outline.trim();
        self.note();
    }
}

/// Those of one stripe. They are few.
#[derive(Debug, Default)]
pub(crate) struct Outlines(Vec<Outlined>);

#[derive(Debug)]
struct Outlined {
    hash: u64,
    key: Box<[u8]>,
    sketch: Arc<Sketch>,
    /// Whether it was used since the hand came by.
    used: AtomicBool,
    /// Whether rows are being put into it, and into the store.
    is_changing: bool,
}

impl Outlined {
    fn is_of(&self, hash: u64, key: &[u8]) -> bool {
        self.hash == hash && *self.key == *key
    }
}

impl Outlines {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|it| it.sketch.bytes()).sum()
    }

    /// Bytes of memory, counted anew.
    #[cfg(test)]
    pub fn counted(&self) -> usize {
        self.0.iter().map(|it| size_of::<Sketch>() - size_of::<Outline>() + it.sketch.hold().bytes()).sum()
    }

    /// The outline of an entity; keeps it for another turn of the hand.
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<Arc<Sketch>> {
        let found = self.0.iter().find(|it| it.is_of(hash, key))?;
        found.used.store(true, Ordering::Relaxed);
        Some(found.sketch.clone())
    }

    /// Adds one, unless it is there.
    pub fn put(&mut self, hash: u64, key: &[u8], sketch: &Arc<Sketch>) {
        if self.0.iter().all(|it| !it.is_of(hash, key)) {
            let (key, sketch, used) = (key.into(), sketch.clone(), AtomicBool::new(true));
            self.0.push(Outlined { hash, key, sketch, used, is_changing: false });
        }
    }

    /// Rows are put into the outline of an entity, which is `sketch` unless there is one; gives it.
    pub fn begin_change(&mut self, hash: u64, key: &[u8], sketch: &Arc<Sketch>) -> Arc<Sketch> {
        self.put(hash, key, sketch);
        let Some(found) = self.0.iter_mut().find(|it| it.is_of(hash, key)) else { return sketch.clone() };
        found.is_changing = true;
        found.sketch.clone()
    }

    /// The end of that.
    pub fn end_change(&mut self, hash: u64, key: &[u8]) {
        self.0.iter_mut().filter(|it| it.is_of(hash, key)).for_each(|it| it.is_changing = false);
    }

    /// Whether rows are being put into the outline of an entity.
    pub fn is_changing(&self, hash: u64, key: &[u8]) -> bool {
        self.0.iter().any(|it| it.is_changing && it.is_of(hash, key))
    }

    /// Removes that of an entity, unless it is changing.
    pub fn remove(&mut self, hash: u64, key: &[u8]) {
        self.drop_where(|it| it.is_of(hash, key) && !it.is_changing);
    }

    /// Removes those that were not used since this was last called; gives how many bytes fewer there are.
    pub fn drop_resting(&mut self) -> usize {
        self.drop_where(|it| !it.is_changing && !std::mem::take(it.used.get_mut()))
    }

    fn drop_where(&mut self, goes: impl FnMut(&mut Outlined) -> bool) -> usize {
        self.0.extract_if(.., goes).map(|it| it.sketch.bytes()).sum()
    }
}
