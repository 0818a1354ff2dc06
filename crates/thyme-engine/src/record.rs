//! What a log record's payload holds. Described byte by byte in `docs/formats.md`.

use std::collections::{BTreeMap, HashMap};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use arrow::ipc::{MetadataVersion, root_as_message};
use serde::{Deserialize, Serialize};
use thyme_core::definition::Document;
use thyme_core::{Error, Result};

use crate::additions;
use crate::idempotency::Mark;
use crate::remains::Remains;

/// The version of the payload format.
const VERSION: u8 = 1;
/// That of an events payload with something to say in its [`Remains`].
const VERSION_REMAINS: u8 = 2;
/// That of one whose [`Remains`] have duplicates.
const VERSION_DUPLICATES: u8 = 3;
const KIND_EVENTS: u8 = 1;
const KIND_COMMIT: u8 = 2;
const KIND_ERASE: u8 = 3;
const NO_CURSOR: u32 = u32::MAX;
/// Bodies shorter than this are not worth compressing.
const COMPRESS_FROM: usize = 512;

/// A record that could not become a row: what it was and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Where it came from: `push`, or the file and line.
    pub origin: String,
    /// Why it was refused.
    pub reason: String,
    /// The bytes as they came, at most [`DeadLetter::RAW_MAX`] of them.
    pub raw: Vec<u8>,
}

impl DeadLetter {
    /// Longer raw records are cut here, which the reason then says.
    pub const RAW_MAX: usize = 64 * 1024;

    /// Longer texts are cut here.
    const TEXT_MAX: usize = 4096;

    /// A dead letter; cuts what is too long.
    pub fn new(origin: impl Into<String>, reason: impl Into<String>, raw: &[u8]) -> Self {
        let (mut origin, mut reason) = (origin.into(), reason.into());
        cut(&mut origin, Self::TEXT_MAX);
        cut(&mut reason, Self::TEXT_MAX);
        if raw.len() > Self::RAW_MAX {
            reason.push_str(&format!(
                " (the record is {} bytes; the first {}{CUT_END}",
                raw.len(),
                Self::RAW_MAX
            ));
        }
        DeadLetter { origin, reason, raw: raw[..raw.len().min(Self::RAW_MAX)].to_vec() }
    }
}

impl DeadLetter {
    /// Whether only its first bytes are kept, so that it cannot be read again.
    pub fn is_cut(&self) -> bool {
        self.raw.len() >= Self::RAW_MAX && self.reason.ends_with(CUT_END)
    }
}

/// How the reason of a letter ends whose record was cut.
const CUT_END: &str = " are kept)";

/// Cuts a text where a character ends, and says so.
fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
}

/// Rows of one dataset and what must become durable with them.
#[derive(Clone, Debug)]
pub(crate) struct EventsRecord {
    pub dataset: u32,
    /// The input stream: `push`, or a source's name.
    pub stream: String,
    /// Where the source goes on after these rows.
    pub cursor: Option<Vec<u8>>,
    pub dead_letters: Vec<DeadLetter>,
    /// The idempotency keys of the pushes in it.
    pub marks: Vec<Mark>,
    /// What erasures took out.
    pub remains: Remains,
    pub batch: RecordBatch,
}

/// An erasure: which entities, by keyed hash, of which dataset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EraseRecord {
    pub id: String,
    pub dataset: String,
    /// Hexadecimal.
    pub entities: Vec<String>,
    /// By input stream of replays: how many of the dead letters that go had become rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replayed: BTreeMap<String, u64>,
}

/// A committed set of definitions: the whole of it, as it stands after the commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CommitRecord {
    pub id: String,
    #[serde(default, skip_serializing_if = "CommitNote::is_empty")]
    pub note: CommitNote,
    pub document: Document,
}

/// Who commits and why, and the texts that the definitions were made of. It is no part of what a commit says:
/// another note alone makes no other commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommitNote {
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The users' files, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub source: BTreeMap<String, String>,
}

impl CommitNote {
    fn is_empty(&self) -> bool {
        *self == CommitNote::default()
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Events(Box<EventsRecord>),
    Commit(Box<CommitRecord>),
    Erase(Box<EraseRecord>),
}

impl Payload {
    /// The bytes of the payload.
    pub fn encode(&self) -> Result<Vec<u8>> {
        match self {
            Payload::Events(events) => events.encode(),
            Payload::Commit(commit) => as_json(KIND_COMMIT, commit),
            Payload::Erase(erase) => as_json(KIND_ERASE, erase),
        }
    }
}

fn as_json(kind: u8, record: &impl Serialize) -> Result<Vec<u8>> {
    let mut out = vec![VERSION, kind];
    serde_json::to_writer(&mut out, record).map_err(|e| Error::internal(format!("log record: {e}")))?;
    Ok(out)
}

impl EventsRecord {
    /// The bytes of the payload.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
        let mut tracker = DictionaryTracker::new(true);
        let (_, data) = IpcDataGenerator::default().encode(
            &self.batch,
            &mut tracker,
            &options,
            &mut Default::default(),
        )?;
        let body = &data.arrow_data;
        let mut out = Vec::with_capacity(body.len() / 2 + data.ipc_message.len() + 64);
        let plain = self.remains == Remains::default();
        let version = match plain {
            true => VERSION,
            false if self.remains.has_duplicates() => VERSION_DUPLICATES,
            false => VERSION_REMAINS,
        };
        out.extend_from_slice(&[version, KIND_EVENTS]);
        out.extend_from_slice(&self.dataset.to_le_bytes());
        put_bytes(&mut out, self.stream.as_bytes());
        match &self.cursor {
            Some(cursor) => put_bytes(&mut out, cursor),
            None => out.extend_from_slice(&NO_CURSOR.to_le_bytes()),
        }
        out.extend_from_slice(&(self.dead_letters.len() as u32).to_le_bytes());
        for dead in &self.dead_letters {
            put_bytes(&mut out, dead.origin.as_bytes());
            put_bytes(&mut out, dead.reason.as_bytes());
            put_bytes(&mut out, &dead.raw);
        }
        out.extend_from_slice(&(self.marks.len() as u32).to_le_bytes());
        for mark in &self.marks {
            out.extend_from_slice(&mark.key);
            out.extend_from_slice(&mark.body);
            out.extend_from_slice(&mark.last_row.to_le_bytes());
            out.extend_from_slice(&mark.accepted.to_le_bytes());
            out.extend_from_slice(&mark.skipped.to_le_bytes());
        }
        if !plain {
            self.remains.encode(&mut out);
        }
        put_bytes(&mut out, &data.ipc_message);
        out.extend_from_slice(&(body.len() as u64).to_le_bytes());
        if body.len() >= COMPRESS_FROM {
            out.push(1);
            out.extend_from_slice(&lz4_flex::block::compress(body));
        } else {
            out.push(0);
            out.extend_from_slice(body);
        }
        Ok(out)
    }
}

/// Whether a payload is that of a commit.
pub(crate) fn is_commit(payload: &[u8]) -> bool {
    matches!(payload, [_, KIND_COMMIT, ..])
}

/// Only the dataset of an events payload, or `None` for other kinds: lets a backfill skip cheaply.
pub(crate) fn peek_dataset(payload: &[u8]) -> Option<u32> {
    match payload {
        [VERSION..=VERSION_DUPLICATES, KIND_EVENTS, a, b, c, d, ..] => {
            Some(u32::from_le_bytes([*a, *b, *c, *d]))
        }
        _ => None,
    }
}

impl Payload {
    /// Reads a payload; `schema_of` gives the schema of a dataset id. Rows that were written before the last
    /// fields of it were added get what they are missing.
    ///
    /// # Errors
    /// Corrupt bytes, or a newer format.
    pub fn decode(payload: &[u8], schema_of: &dyn Fn(u32) -> Option<SchemaRef>) -> Result<Payload> {
        let mut reader = Reader { rest: payload };
        let version = reader.byte()?;
        if !(VERSION..=VERSION_DUPLICATES).contains(&version) {
            return Err(Error::corrupt(format!(
                "a log record has payload format {version}; this build reads {VERSION} to {VERSION_DUPLICATES}"
            )));
        }
        match reader.byte()? {
            KIND_EVENTS => decode_events(reader, version, schema_of).map(|r| Payload::Events(Box::new(r))),
            KIND_COMMIT => serde_json::from_slice(reader.rest)
                .map(|r| Payload::Commit(Box::new(r)))
                .map_err(|e| Error::corrupt(format!("a commit record cannot be read: {e}"))),
            KIND_ERASE => serde_json::from_slice(reader.rest)
                .map(|r| Payload::Erase(Box::new(r)))
                .map_err(|e| Error::corrupt(format!("an erase record cannot be read: {e}"))),
            kind => Err(Error::corrupt(format!("a log record is of unknown kind {kind}"))),
        }
    }
}

fn decode_events(
    mut reader: Reader<'_>,
    version: u8,
    schema_of: &dyn Fn(u32) -> Option<SchemaRef>,
) -> Result<EventsRecord> {
    let dataset = reader.u32()?;
    let stream = reader.text()?;
    let cursor = match reader.u32()? {
        NO_CURSOR => None,
        len => Some(reader.take(len as usize)?.to_vec()),
    };
    let mut dead_letters = Vec::new();
    for _ in 0..reader.u32()? {
        let (origin, reason) = (reader.text()?, reader.text()?);
        dead_letters.push(DeadLetter { origin, reason, raw: reader.bytes()?.to_vec() });
    }
    let mut marks = Vec::new();
    for _ in 0..reader.u32()? {
        marks.push(Mark {
            key: reader.array()?,
            body: reader.array()?,
            last_row: reader.u32()?,
            accepted: reader.u64()?,
            skipped: reader.u64()?,
        });
    }
    let remains = match version {
        VERSION => Remains::default(),
        _ => Remains::decode(&mut reader, version == VERSION_DUPLICATES)?,
    };
    let message = reader.bytes()?;
    let length = usize::try_from(reader.u64()?).map_err(|_| damaged())?;
    let body = match reader.byte()? {
        0 => reader.rest.to_vec(),
        1 => lz4_flex::block::decompress(reader.rest, length).map_err(|_| damaged())?,
        _ => return Err(damaged()),
    };
    if body.len() != length {
        return Err(damaged());
    }
    let schema = schema_of(dataset)
        .ok_or_else(|| Error::corrupt(format!("the log names dataset {dataset}, which no commit made")))?;
    let message = root_as_message(message).map_err(|_| damaged())?;
    let header = message.header_as_record_batch().ok_or_else(damaged)?;
    // A column is one node of the message: types have no parts.
    let written = additions::before(&schema, header.nodes().map_or(0, |nodes| nodes.len()));
    let batch = arrow::ipc::reader::read_record_batch(
        &Buffer::from_vec(body),
        header,
        written,
        &HashMap::new(),
        None,
        &message.version(),
    )?;
    if !remains.fits(batch.num_rows(), dead_letters.len()) {
        return Err(damaged());
    }
    let batch = additions::complete(batch, &schema)?;
    Ok(EventsRecord { dataset, stream, cursor, dead_letters, marks, remains, batch })
}

pub(crate) fn damaged() -> Error {
    Error::corrupt("an events record of the log cannot be decoded")
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or_else(damaged)?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| damaged())
    }

    pub fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let n = self.u32()? as usize;
        self.take(n)
    }

    fn text(&mut self) -> Result<String> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| damaged())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remains::Left;
    use arrow::array::{Float64Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn sample(rows: usize) -> EventsRecord {
        let schema = Arc::new(Schema::new(vec![
            Field::new("k", DataType::Utf8, false),
            Field::new("x", DataType::Float64, true),
            Field::new("n", DataType::Int64, false),
        ]));
        let batch = RecordBatch::try_new(
            schema,
            vec![
                Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("k{i}")))),
                Arc::new(Float64Array::from_iter((0..rows).map(|i| (i % 3 != 0).then_some(i as f64)))),
                Arc::new(Int64Array::from_iter_values(0..rows as i64)),
            ],
        )
        .unwrap();
        EventsRecord {
            dataset: 7,
            stream: "push".into(),
            cursor: Some(b"c".to_vec()),
            dead_letters: vec![DeadLetter::new("push", "bad", b"{")],
            marks: vec![Mark { key: [1; 32], body: [2; 32], last_row: 0, accepted: 1, skipped: 1 }],
            remains: Remains::default(),
            batch,
        }
    }

    #[test]
    fn events_round_trip_small_and_compressed() {
        for rows in [0, 1, 5, 1000] {
            let record = sample(rows);
            let bytes = record.encode().unwrap();
            assert_eq!(peek_dataset(&bytes), Some(7));
            let Payload::Events(back) = Payload::decode(&bytes, &|_| Some(record.batch.schema())).unwrap()
            else {
                panic!("kind")
            };
            assert_eq!(back.batch, record.batch);
            assert_eq!((back.cursor, back.dead_letters), (record.cursor, record.dead_letters));
            assert_eq!(back.marks, record.marks);
            assert_eq!(back.remains, record.remains);
        }
    }

    #[test]
    fn what_an_erasure_left_round_trips_and_any_cut_of_it_is_an_error() {
        let mut record = sample(3);
        let left = |watermark: Option<i64>| Left {
            rows: vec![0, 7, 9],
            late: vec![2],
            behind: vec![-7],
            duplicates: if watermark.is_some() { vec![0, 1] } else { Vec::new() },
            watermark,
            newest: Some(-4),
        };
        for left in [None, Some(left(None)), Some(left(Some(i64::MIN)))] {
            record.remains = Remains { dropped: 12, left, letters: vec![5] };
            let bytes = record.encode().unwrap();
            assert_eq!(peek_dataset(&bytes), Some(7));
            let Payload::Events(back) = Payload::decode(&bytes, &|_| Some(record.batch.schema())).unwrap()
            else {
                panic!("kind")
            };
            assert_eq!((back.remains, back.batch), (record.remains.clone(), record.batch.clone()));
            for cut in 0..bytes.len() {
                assert!(Payload::decode(&bytes[..cut], &|_| Some(record.batch.schema())).is_err(), "{cut}");
            }
        }
        // As many row numbers as rows, and letters' numbers as letters.
        record.remains.letters.push(6);
        let bytes = record.encode().unwrap();
        assert!(Payload::decode(&bytes, &|_| Some(record.batch.schema())).is_err());
        record.remains.letters.clear();
        record.remains.left.as_mut().unwrap().rows.pop();
        let bytes = record.encode().unwrap();
        assert!(Payload::decode(&bytes, &|_| Some(record.batch.schema())).is_err());
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let record = sample(40);
        let bytes = record.encode().unwrap();
        for cut in 0..bytes.len() {
            assert!(Payload::decode(&bytes[..cut], &|_| Some(record.batch.schema())).is_err(), "{cut}");
        }
    }
}
