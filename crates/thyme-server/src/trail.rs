//! Records that are written once and read now and then, by number: what happened, and what was asked.
//!
//! A trail is a folder of segments, files of compressed blocks of JSON records, one a line. It is bounded: the oldest
//! segment goes first. A block that is not what was written is never a record: it is passed over and named
//! ([`Trail::untold`]). One that a crash left half is cut off at the next start.

mod segment;

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use thyme_core::Result;

use segment::{Block, Segment, damaged, failed, sync_names};

const SUFFIX: &str = ".trail";
const UNFINISHED: &str = "rewrite.new";

/// How much a trail keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// A segment of so many bytes is closed.
    pub segment_bytes: u64,
    /// With more than so many, the oldest segments go.
    pub bytes_max: u64,
}

/// Whether a block is on durable storage when it has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    Now,
    Never,
}

/// Records in a folder.
#[derive(Debug)]
pub(crate) struct Trail {
    folder: PathBuf,
    bounds: Bounds,
    segments: Mutex<VecDeque<Segment>>,
    damage: Mutex<Damage>,
}

/// What was found not to be what was written.
#[derive(Debug, Default)]
struct Damage {
    /// Places that are known: each is told once.
    places: BTreeSet<(PathBuf, u64)>,
    untold: Vec<String>,
}

impl Damage {
    fn note(&mut self, path: &Path, offset: u64) {
        if self.places.insert((path.to_owned(), offset)) {
            self.untold.push(damaged(path, offset).detail().to_owned());
        }
    }
}

impl Trail {
    /// The trail in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// Unavailable: the disk. Unsupported: a later Thyme wrote it.
    pub fn open(folder: PathBuf, bounds: Bounds) -> Result<Trail> {
        let opening = |io| failed("opening", &folder, &io);
        fs::create_dir_all(&folder).map_err(opening)?;
        match fs::remove_file(folder.join(UNFINISHED)) {
            Err(io) if io.kind() != io::ErrorKind::NotFound => return Err(opening(io)),
            _ => {}
        }
        let (mut segments, mut damage) = (VecDeque::new(), Damage::default());
        for path in paths(&folder).map_err(opening)? {
            match Segment::open(path.clone())? {
                Some(segment) => {
                    segment.gaps.iter().for_each(|offset| damage.note(&path, *offset));
                    segments.push_back(segment);
                }
                None => damage.note(&path, 0),
            }
        }
        if let Some(last) = segments.back_mut() {
            last.cut()?;
        }
        Ok(Trail { folder, bounds, segments: Mutex::new(segments), damage: Mutex::new(damage) })
    }

    /// Reads all of the trail in `folder`, and changes nothing: how many blocks there are, and what of it is not what
    /// was written.
    ///
    /// # Errors
    /// As [`Trail::open`].
    pub fn examine(folder: &Path) -> Result<Examined> {
        let opening = |io| failed("opening", folder, &io);
        let mut examined = Examined::default();
        let paths = paths(folder).map_err(opening)?;
        for (index, path) in paths.iter().enumerate() {
            let Some(segment) = Segment::look(path.clone())? else {
                examined.damaged.push(damaged(path, 0).detail().to_owned());
                continue;
            };
            let bad = segment.blocks.iter().filter_map(|block| segment.records(block).err());
            examined.damaged.extend(bad.map(|error| error.detail().to_owned()));
            let gaps = segment.gaps.iter().map(|offset| damaged(path, *offset).detail().to_owned());
            examined.damaged.extend(gaps);
            examined.blocks += segment.blocks.len();
            match segment.torn().map_err(opening)? {
                0 => {}
                _ if index + 1 < paths.len() => {
                    examined.damaged.push(damaged(path, segment.bytes).detail().to_owned());
                }
                bytes => examined.torn = Some((path.clone(), bytes)),
            }
        }
        Ok(examined)
    }

    /// What was found, since this was asked last, not to be what was written: a sentence each.
    pub fn untold(&self) -> Vec<String> {
        std::mem::take(&mut self.damage.lock().untold)
    }

    /// The number of the last record.
    pub fn last(&self) -> Option<u64> {
        self.segments.lock().iter().rev().find_map(|segment| segment.blocks.last()).map(|block| block.last)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.lock().iter().map(|segment| segment.bytes).sum()
    }

    /// Adds `records`, one a line, whose numbers are `numbers`, all above the last.
    ///
    /// # Errors
    /// Unavailable, `StorageFull`: nothing was added.
    pub fn append(&self, numbers: (u64, u64), records: &str, sync: Sync) -> Result<()> {
        let mut segments = self.segments.lock();
        let writing = |io: &io::Error| failed("writing to", &self.folder, io);
        if segments.back().is_none_or(|last| last.bytes >= self.bounds.segment_bytes) {
            let name = format!("{:020}{SUFFIX}", numbers.0);
            let made =
                Segment::create(&self.folder, &name).and_then(|made| sync_names(&self.folder).map(|()| made));
            segments.push_back(made.map_err(|io| writing(&io))?);
        }
        let Some(last) = segments.back_mut() else { return Ok(()) };
        let before = last.bytes;
        let written = last.append(numbers, records).and_then(|()| match sync {
            Sync::Now => last.file.sync_all(),
            Sync::Never => Ok(()),
        });
        if let Err(io) = written {
            // What may be there of it is behind the end, and overwritten by the next.
            last.take_back(before);
            return Err(writing(&io));
        }
        let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        while bytes > self.bounds.bytes_max && segments.len() > 1 {
            let Some(oldest) = segments.pop_front() else { break };
            bytes -= oldest.bytes;
            fs::remove_file(&oldest.path).map_err(|io| failed("removing", &oldest.path, &io))?;
        }
        Ok(())
    }

    /// Shows records below `before`, newest first, until `visit` has enough. What is not what was written is passed
    /// over, and told by [`Trail::untold`].
    pub fn scan(&self, before: u64, visit: &mut dyn FnMut(&str) -> ControlFlow<()>) {
        // What is read is what was there at the beginning; files stay readable while they are open.
        let segments = self.segments.lock().clone();
        for segment in segments.iter().rev() {
            for block in segment.blocks.iter().rev().filter(|block| block.first < before) {
                let Ok(records) = segment.records(block) else {
                    self.damage.lock().note(&segment.path, block.offset());
                    continue;
                };
                for record in records.lines().rev() {
                    if visit(record).is_break() {
                        return;
                    }
                }
            }
        }
    }

    /// The records of the block that may have number `number`.
    ///
    /// # Errors
    /// Corrupt: it is not what was written.
    pub fn block_with(&self, number: u64) -> Result<Option<String>> {
        let found = self.segments.lock().iter().rev().find_map(|segment| {
            let block = segment.blocks.iter().rev().find(|b| (b.first..=b.last).contains(&number))?;
            Some((Segment { blocks: Vec::new(), ..segment.clone() }, *block))
        });
        found
            .map(|(segment, block)| {
                let records = segment.records(&block);
                if records.is_err() {
                    self.damage.lock().note(&segment.path, block.offset());
                }
                records
            })
            .transpose()
    }

    /// Writes every segment anew in which `edit` changes a record; it gives what the record is from now on. A block
    /// that is not what was written is left out: nobody can say what is in it. Durable when this returns. Gives how
    /// many segments were changed.
    ///
    /// # Errors
    /// Unavailable: some segments may be as they were.
    pub fn rewrite(&self, edit: &dyn Fn(&str) -> Option<String>) -> Result<u64> {
        let mut segments = self.segments.lock();
        let mut changed = 0;
        for segment in segments.iter_mut() {
            let is_changed = |block: &Block| match segment.records(block) {
                Ok(records) => records.lines().any(|record| edit(record).is_some()),
                Err(_) => true,
            };
            if !segment.gaps.is_empty() || segment.blocks.iter().any(is_changed) {
                let writing = |io| failed("writing anew", &segment.path, &io);
                let made = self.edited(segment, edit).map_err(writing)?;
                self.damage.lock().places.retain(|(path, _)| *path != made.path);
                (*segment, changed) = (made, changed + 1);
            }
        }
        Ok(changed)
    }

    fn edited(&self, segment: &Segment, edit: &dyn Fn(&str) -> Option<String>) -> io::Result<Segment> {
        let mut made = Segment::create(&self.folder, UNFINISHED)?;
        for block in &segment.blocks {
            let Ok(records) = segment.records(block) else { continue };
            let mut out = String::with_capacity(records.len());
            for record in records.lines() {
                let edited = edit(record);
                out.push_str(edited.as_deref().unwrap_or(record));
                out.push('\n');
            }
            made.append((block.first, block.last), &out)?;
        }
        made.file.sync_all()?;
        fs::rename(&made.path, &segment.path)?;
        sync_names(&self.folder)?;
        made.path.clone_from(&segment.path);
        Ok(made)
    }
}

/// What is in a folder.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    pub blocks: usize,
    /// What is not what was written: a sentence each.
    pub damaged: Vec<String>,
    /// A file that ends with so many bytes of a block that is not whole.
    pub torn: Option<(PathBuf, u64)>,
}

/// The segments in a folder, oldest first.
fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string());
    }
    names.retain(|name| name.ends_with(SUFFIX));
    names.sort_unstable();
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::segment::{BLOCK_HEAD, HEAD};
    use super::*;
    use thyme_core::ErrorKind;

    const BOUNDS: Bounds = Bounds { segment_bytes: 400, bytes_max: 2_000 };

    fn all(trail: &Trail, before: u64) -> Vec<String> {
        let mut found = Vec::new();
        let visit = &mut |record: &str| {
            found.push(record.to_owned());
            ControlFlow::Continue(())
        };
        trail.scan(before, visit);
        found
    }

    fn add(trail: &Trail, number: u64) {
        let records = format!("{{\"n\":{number}}}\n{{\"n\":{}}}\n", number + 1);
        trail.append((number, number + 1), &records, Sync::Never).unwrap();
    }

    #[test]
    fn records_come_back_newest_first_and_the_oldest_go_when_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("trail");
        let trail = Trail::open(folder.clone(), BOUNDS).unwrap();
        assert_eq!((trail.last(), all(&trail, u64::MAX).len()), (None, 0));
        (0..10).for_each(|i| add(&trail, i * 2));
        let shown = all(&trail, u64::MAX);
        assert_eq!((shown.len(), shown[0].as_str(), shown[19].as_str()), (20, "{\"n\":19}", "{\"n\":0}"));
        assert_eq!(all(&trail, 6).len(), 6);
        assert!(trail.block_with(7).unwrap().unwrap().contains("{\"n\":7}"));
        assert_eq!(trail.block_with(99).unwrap(), None);
        (10..200).for_each(|i| add(&trail, i * 2));
        assert!(trail.bytes() <= BOUNDS.bytes_max + BOUNDS.segment_bytes, "{}", trail.bytes());
        let shown = all(&trail, u64::MAX);
        assert!(shown.len() > 20 && shown[0] == "{\"n\":399}", "{}", shown.len());
        let again = Trail::open(folder, BOUNDS).unwrap();
        assert_eq!((again.last(), all(&again, u64::MAX)), (Some(399), shown));
    }

    #[test]
    fn what_is_rewritten_is_in_no_file_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let trail = Trail::open(dir.path().to_owned(), Bounds { bytes_max: 1 << 20, ..BOUNDS }).unwrap();
        (0..50).for_each(|i| add(&trail, i * 2));
        let edit = |record: &str| (record == "{\"n\":33}").then(|| "{\"n\":0}".to_owned());
        assert_eq!(trail.rewrite(&edit).unwrap(), 1);
        add(&trail, 100);
        for trail in [trail, Trail::open(dir.path().to_owned(), BOUNDS).unwrap()] {
            let shown = all(&trail, u64::MAX);
            assert_eq!((shown.len(), shown.iter().filter(|r| *r == "{\"n\":0}").count()), (102, 2));
            assert!(!shown.contains(&"{\"n\":33}".to_owned()));
        }
    }

    #[test]
    fn a_torn_end_is_cut_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let bounds = Bounds { segment_bytes: 1 << 20, bytes_max: 1 << 20 };
        let trail = Trail::open(dir.path().to_owned(), bounds).unwrap();
        (0..3).for_each(|i| add(&trail, i * 2));
        let path = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read(&path).unwrap();
        drop(trail);
        for end in (0..whole.len()).rev() {
            fs::write(&path, &whole[..end]).unwrap();
            let trail = Trail::open(dir.path().to_owned(), bounds).unwrap();
            let count = all(&trail, u64::MAX).len();
            assert!(count < 6 && count.is_multiple_of(2), "{end}: {count}");
            add(&trail, 90);
            assert_eq!(all(&Trail::open(dir.path().to_owned(), bounds).unwrap(), u64::MAX).len(), count + 2);
        }
        let mut damaged = whole.clone();
        damaged[HEAD as usize + BLOCK_HEAD + 2] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let trail = Trail::open(dir.path().to_owned(), bounds).unwrap();
        assert_eq!((all(&trail, u64::MAX).len(), all(&trail, u64::MAX).len()), (4, 4), "the rest is shown");
        let told = trail.untold();
        assert!(told.len() == 1 && told[0].contains("is damaged in the block at byte 12"), "{told:?}");
        assert!(trail.untold().is_empty() && trail.block_with(0).is_err(), "it is told once");
        // Whoever writes all anew leaves out what nobody can read.
        trail.rewrite(&|_| None).unwrap();
        assert_eq!(all(&trail, u64::MAX).len(), 4);
        fs::write(&path, [0; 100]).unwrap();
        let trail = Trail::open(dir.path().to_owned(), bounds).unwrap();
        add(&trail, 7);
        assert_eq!(all(&Trail::open(dir.path().to_owned(), bounds).unwrap(), u64::MAX).len(), 2);
        fs::write(&path, [&whole[..8], &2_u32.to_le_bytes()].concat()).unwrap();
        assert_eq!(Trail::open(dir.path().to_owned(), bounds).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn whatever_is_damaged_hides_nothing_but_itself() {
        let dir = tempfile::tempdir().unwrap();
        let bounds = Bounds { segment_bytes: 1 << 20, bytes_max: 1 << 20 };
        let trail = Trail::open(dir.path().to_owned(), bounds).unwrap();
        (0..4).for_each(|i| add(&trail, i * 2));
        let path = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read(&path).unwrap();
        drop(trail);
        let block = (whole.len() - HEAD as usize) / 4;
        assert!(Trail::examine(dir.path()).unwrap().damaged.is_empty());
        // Any byte of the second block, its lengths and numbers among them.
        for at in (HEAD as usize + block..HEAD as usize + 2 * block).flat_map(|at| [(at, 1), (at, 0x80)]) {
            let mut bytes = whole.clone();
            bytes[at.0] ^= at.1;
            fs::write(&path, &bytes).unwrap();
            let examined = Trail::examine(dir.path()).unwrap();
            assert_eq!((examined.damaged.len(), examined.torn.is_none()), (1, true), "{at:?}");
            let trail = Trail::open(dir.path().to_owned(), bounds).unwrap();
            assert_eq!(all(&trail, u64::MAX).len(), 6, "{at:?}");
            assert_eq!(trail.untold(), examined.damaged, "{at:?}");
            assert_eq!((trail.last(), fs::read(&path).unwrap() == bytes), (Some(7), true), "nothing is cut");
            add(&trail, 8);
            trail.rewrite(&|_| None).unwrap();
            assert!(Trail::examine(dir.path()).unwrap().damaged.is_empty(), "{at:?}");
            assert_eq!(all(&Trail::open(dir.path().to_owned(), bounds).unwrap(), u64::MAX).len(), 8);
        }
        // A file that begins as none of ours hides no other.
        fs::write(&path, &whole).unwrap();
        fs::write(dir.path().join("99999999999999999999.trail"), [7; 100]).unwrap();
        let trail = Trail::open(dir.path().to_owned(), bounds).unwrap();
        assert_eq!((all(&trail, u64::MAX).len(), trail.untold().len()), (8, 1));
    }
}
