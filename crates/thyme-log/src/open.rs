//! Opening a segment log: which segments there are, and where the last one ends.

use std::sync::Arc;

use thyme_core::error::{Error, ErrorKind, Result};

use crate::cut::{self, Cut};
use crate::disk::{Disk, DiskFile};
use crate::record::{FORMAT_VERSION, HeaderFault, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::segment::{Cursor, Segment, file_name, io_failed, parse_file_name};
use crate::segment_log::Durable;
use crate::{rewrite, tail};

/// Where the first record of a segment begins.
const FIRST_RECORD: u64 = SEGMENT_HEADER_BYTES as u64;

/// What opening a segment log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// How many records it holds.
    pub records: u64,
    /// What a crash left half written, and is gone now. It was never acknowledged.
    pub torn: Option<TornTail>,
}

/// The half-written end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file it was in.
    pub file: String,
    /// Where in it the cut was made; 0 when the whole file was removed.
    pub offset: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
}

/// A segment file that is there, and what its header says.
struct Found {
    first: u64,
    name: String,
    path: String,
    file: Arc<dyn DiskFile>,
    length: u64,
    header: Result<SegmentHeader, HeaderFault>,
}

impl Found {
    fn open(disk: &dyn Disk, first: u64) -> Result<Self> {
        let name = file_name(first);
        let path = disk.path(&name);
        let failed = |io| io_failed("opening", &path, &io);
        let file = disk.open(&name).map_err(failed)?;
        let length = file.length().map_err(failed)?;
        let mut head = [0; SEGMENT_HEADER_BYTES];
        let got = file.read_at(&mut head, 0).map_err(failed)?;
        let header = SegmentHeader::decode(head.get(..got).unwrap_or_default());
        Ok(Found { first, name, path, file, length, header })
    }

    /// Its header, if it is whole and follows the segment before it, or begins the log.
    fn header(&self, before: Option<&Segment>, cut: Cut) -> Result<SegmentHeader> {
        let path = &self.path;
        let header = match self.header {
            Ok(header) => header,
            Err(HeaderFault::Version(version)) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the log file {path} has format {version}, this Thyme reads format {FORMAT_VERSION}; \
                         start it with the Thyme that wrote it"
                    ),
                ));
            }
            Err(HeaderFault::Damaged) => {
                return Err(Error::corrupt(format!(
                    "the log file {path} is damaged at byte 0: the segment header before record {} does not match its \
                     checksum; restore this file from a backup",
                    self.first
                )));
            }
        };
        let (previous, base) =
            before.map_or((0, i64::MIN), |before| (before.header.first, before.header.base));
        let follows = header.first == self.first
            && match before {
                Some(_) => header.previous == previous && header.base >= base,
                None => (Cut { first: header.first, base: header.base }) == cut,
            };
        if follows {
            return Ok(header);
        }
        Err(Error::corrupt(format!(
            "the log file {path} says that it begins with record {} and follows the segment of record {}, but the segment \
             of record {previous} stands before it; restore the missing segment files from a backup",
            header.first, header.previous
        )))
    }
}

/// What is durable, the file to go on writing to if there is a segment, and what was found.
pub(crate) type Recovered = (Durable, Option<Arc<dyn DiskFile>>, OpenReport);

/// Opens all segments, finds the log's end, cuts off a torn tail, and makes what is kept durable.
pub(crate) fn recover(disk: &dyn Disk) -> Result<Recovered> {
    let names = disk.list().map_err(|io| io_failed("listing", &disk.path("."), &io))?;
    rewrite::clear(disk, &names)?;
    let cut = cut::find(disk, &names)?;
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| parse_file_name(name)).collect();
    firsts.sort_unstable();
    let mut gone = firsts.extract_if(.., |first| *first < cut.first).map(file_name).collect();
    cut::remove(disk, &mut gone)?;
    let mut found = Vec::with_capacity(firsts.len());
    for first in firsts {
        found.push(Found::open(disk, first)?);
    }
    let mut torn = None;
    let mut acknowledged = None;
    if let Some(last) = found.pop_if(|last| matches!(last.header, Err(HeaderFault::Damaged))) {
        tail::judge_headless(last.file.as_ref(), &last.path, last.length, last.first)?;
        acknowledged = Some(last.first - 1);
        torn = Some(remove(disk, &last)?);
    }
    let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(found.len());
    for each in &found {
        let header = each.header(segments.last().map(AsRef::as_ref), cut)?;
        segments.push(Arc::new(Segment::new(header, each.length)));
    }
    let mut last = None;
    while let (Some(open), Some(segment)) = (found.last(), segments.last()) {
        let whole = scan(disk, open, segment)?;
        refuse_loss(open, &whole, acknowledged)?;
        if whole.last.is_none() {
            acknowledged = Some(open.first - 1);
            torn = Some(remove(disk, open)?);
            found.pop();
            segments.pop();
            continue;
        }
        if whole.end < open.length {
            torn = Some(cut_off(open, whole.end)?);
        }
        segment.set_end(whole.end);
        open.file.sync().map_err(|io| io_failed("syncing", &open.path, &io))?;
        last = whole.last;
        break;
    }
    if last.is_none() && (cut.first > 1 || acknowledged.is_some_and(|number| number > 0)) {
        return Err(Error::corrupt(format!(
            "the log in {} has lost its segment files; restore them from a backup",
            disk.path(".")
        )));
    }
    disk.sync_names().map_err(|io| io_failed("syncing", &disk.path("."), &io))?;
    let bytes = segments.iter().map(|segment| segment.end()).sum();
    let report = OpenReport { records: last.map_or(0, |(number, _)| number), torn };
    let file = found.pop().map(|open| open.file);
    Ok((Durable { segments: Arc::new(segments), last, bytes }, file, report))
}

fn scan(disk: &dyn Disk, open: &Found, segment: &Arc<Segment>) -> Result<tail::Whole> {
    let start = (open.first, FIRST_RECORD);
    let cursor = Cursor::open(disk, Arc::clone(segment), start, open.length)?;
    tail::find(cursor, open.file.as_ref(), &open.path, open.length)
}

/// A segment begun after this one shows up to which record this one was acknowledged.
fn refuse_loss(open: &Found, whole: &tail::Whole, acknowledged: Option<u64>) -> Result<()> {
    let last = whole.last.map_or(open.first - 1, |(number, _)| number);
    match acknowledged {
        Some(number) if number != last => Err(Error::corrupt(format!(
            "the log file {} is damaged at byte {}: its last whole record is {last}, but record {number} was acknowledged; \
             restore this file from a backup",
            open.path, whole.end
        ))),
        _ => Ok(()),
    }
}

fn cut_off(open: &Found, end: u64) -> Result<TornTail> {
    let done = open.file.set_length(end).and_then(|()| open.file.sync());
    done.map_err(|io| io_failed("cutting the torn end off", &open.path, &io))?;
    Ok(TornTail { file: open.path.clone(), offset: end, bytes: open.length - end })
}

fn remove(disk: &dyn Disk, torn: &Found) -> Result<TornTail> {
    let done = disk.remove(&torn.name).and_then(|()| disk.sync_names());
    done.map_err(|io| io_failed("removing the torn file", &torn.path, &io))?;
    Ok(TornTail { file: torn.path.clone(), offset: 0, bytes: torn.length })
}
