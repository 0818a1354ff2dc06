//! Text files: which bytes to read next, and what became of them. The formats themselves are
//! [`super::jsonl`] and [`super::csv`].

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::csv::{self, Layout};
use super::cursor::TextPlace;
use super::gather::Gather;
use super::jsonl;
use super::{Format, Look};

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// The longest line, or CSV record.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// What comes after some bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// More bytes.
    More,
    /// The end of the file, for now.
    Growing,
    /// The end of the file, which has not changed for so long that its last line is taken for whole.
    Settled,
}

/// Bytes of a file from a record's start on.
pub(super) struct Part<'a> {
    /// The file's name, for origins.
    pub name: &'a str,
    pub bytes: &'a [u8],
    pub tail: Tail,
    /// Lines before the bytes.
    pub lines: u64,
}

/// How much of a part was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub bytes: usize,
    /// Newlines within the bytes.
    pub lines: u64,
}

impl Part<'_> {
    /// Where line `number` of the part is, counted from 0.
    pub fn origin(&self, number: u64) -> String {
        format!("{}:{}", self.name, self.lines + number + 1)
    }
}

/// What is known of a text file's content while it does not change; not part of the cursor.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Whether the file's start has been compared with the cursor.
    pub verified: bool,
    pub layout: Option<Layout>,
    /// Bytes of a last line that nothing ends and that is not whole yet.
    pub unfinished: usize,
}

/// One look at one text file.
pub(super) struct Reading<'a> {
    pub name: &'a str,
    pub path: &'a Path,
    pub format: Format,
    /// What the end of the file means: [`Tail::Growing`] or [`Tail::Settled`].
    pub end: Tail,
    pub place: &'a mut TextPlace,
    pub known: &'a mut Known,
    pub buffer: &'a mut Vec<u8>,
}

impl Reading<'_> {
    /// Reads on: one window's worth of rows.
    pub fn step(&mut self, into: &mut Gather<'_>) -> io::Result<Look> {
        let mut file = File::open(self.path)?;
        if !self.known.verified {
            if !self.place.starts_with(&head(&mut file, self.place.look_back())?) {
                return Ok(Look::Replaced);
            }
            self.known.verified = true;
        }
        if self.format == Format::Csv
            && self.known.layout.is_none()
            && self.place.offset > 0
            && let Some(look) = self.find_layout(&mut file, into)?
        {
            return Ok(look);
        }
        let mut size = WINDOW_BYTES;
        loop {
            let tail = self.fill(&mut file, size)?;
            if !self.place.continues(self.buffer.get(..self.place.look_back()).unwrap_or_default()) {
                return Ok(Look::Replaced);
            }
            let (look, taken) = self.advance(tail, into);
            let stuck = taken == 0 && tail == Tail::More && matches!(look, Look::More) && !into.is_full();
            if !stuck {
                return Ok(look);
            }
            if size >= LINE_BYTES_MAX && self.format == Format::Csv && self.known.layout.is_none() {
                let what = format!("its header does not end within {} MiB", LINE_BYTES_MAX >> 20);
                return Ok(Look::Refused(what));
            }
            if size >= LINE_BYTES_MAX {
                self.pass_over(into);
                return Ok(Look::More);
            }
            size *= 4;
        }
    }

    /// Reads the window: `size` bytes from the place on, and those just before it.
    fn fill(&mut self, file: &mut File, size: usize) -> io::Result<Tail> {
        let back = self.place.look_back();
        self.buffer.clear();
        file.seek(SeekFrom::Start(self.place.offset - back as u64))?;
        file.by_ref().take((back + size) as u64).read_to_end(self.buffer)?;
        Ok(if self.buffer.len() < back + size { self.end } else { Tail::More })
    }

    /// Takes what is whole in the window. No I/O.
    fn advance(&mut self, tail: Tail, into: &mut Gather<'_>) -> (Look, usize) {
        let start = self.place.look_back();
        let mut bytes = &self.buffer[start..];
        let bom = if self.place.offset == 0 && bytes.starts_with(BOM) { BOM.len() } else { 0 };
        bytes = &bytes[bom..];
        let mut taken = Taken::default();
        if self.place.skipping {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            self.place.skipping = end.is_none();
            taken =
                end.map_or(Taken { bytes: bytes.len(), lines: 0 }, |end| Taken { bytes: end + 1, lines: 1 });
        } else if self.format == Format::Csv && self.known.layout.is_none() {
            let part = Part { name: self.name, bytes, tail, lines: 0 };
            match csv::header(&part, into.dataset) {
                Err(problem) => return (Look::Refused(problem), 0),
                Ok(Some(header)) => {
                    self.known.layout = Some(header.layout);
                    taken = header.taken;
                }
                Ok(None) if tail == Tail::Settled && !bytes.trim_ascii().is_empty() => {
                    return (Look::Refused("the header has a quote that is not closed".into()), 0);
                }
                Ok(None) => {}
            }
        }
        let part = Part {
            name: self.name,
            bytes: &bytes[taken.bytes..],
            tail,
            lines: self.place.lines + taken.lines,
        };
        let more = match (self.format, &self.known.layout) {
            _ if self.place.skipping => Taken::default(),
            (Format::Csv, None) => Taken::default(),
            (Format::Csv, Some(layout)) => csv::read(&part, layout, into),
            _ => jsonl::read(&part, into),
        };
        taken = Taken { bytes: taken.bytes + more.bytes, lines: taken.lines + more.lines };
        let left = bytes.len() - taken.bytes;
        let is_blank = || bytes[taken.bytes..].trim_ascii().is_empty();
        self.known.unfinished = match tail {
            Tail::More => 0,
            _ if into.is_full() || self.place.skipping || is_blank() => 0,
            _ => left,
        };
        let all = if taken.bytes > 0 { taken.bytes + bom } else { 0 };
        self.place.advance(self.buffer, all, taken.lines);
        let look = match tail {
            Tail::More => Look::More,
            _ if into.is_full() => Look::More,
            _ if self.format == Format::Csv && left > 0 => Look::Waiting,
            _ => Look::End,
        };
        (look, all)
    }

    /// Rejects a record that does not end within a full window, and passes over its first line: what
    /// does not end is either one long line or the lines after a stray quote.
    fn pass_over(&mut self, into: &mut Gather<'_>) {
        let bytes = &self.buffer[self.place.look_back()..];
        let origin = format!("{}:{}", self.name, self.place.lines + 1);
        let (line, ended) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&bytes[..end], 1),
            None => (bytes, 0),
        };
        let what = if ended == 1 { "a quoted field" } else { "the line" };
        into.reject(origin, format!("{what} does not end within {} MiB", LINE_BYTES_MAX >> 20), line);
        let taken = line.len() + ended;
        self.place.advance(self.buffer, taken, ended as u64);
        self.place.skipping = ended == 0;
    }

    /// Reads the header again, to go on after a restart.
    fn find_layout(&mut self, file: &mut File, into: &Gather<'_>) -> io::Result<Option<Look>> {
        let mut size = WINDOW_BYTES.min(self.place.offset as usize);
        loop {
            let bytes = head(file, size)?;
            let bytes = bytes.strip_prefix(BOM).unwrap_or(&bytes);
            let part = Part { name: self.name, bytes, tail: Tail::More, lines: 0 };
            match csv::header(&part, into.dataset) {
                Err(problem) => return Ok(Some(Look::Refused(problem))),
                Ok(Some(header)) => {
                    self.known.layout = Some(header.layout);
                    return Ok(None);
                }
                Ok(None) if size >= LINE_BYTES_MAX || size as u64 >= self.place.offset => {
                    return Ok(Some(Look::Replaced));
                }
                Ok(None) => size = (size * 4).min(self.place.offset as usize),
            }
        }
    }
}

fn head(file: &mut File, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.by_ref().take(size as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
