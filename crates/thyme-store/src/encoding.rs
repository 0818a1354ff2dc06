//! The store's keys and values, byte by byte (see `docs/formats.md`).

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use thyme_core::error::{Error, Result};

use crate::ChunkKey;
use crate::backend::Bytes;

/// First byte of the key of the format entry.
const FORMAT: u8 = 0;
/// First byte of a fact's key.
const META: u8 = 1;
/// First byte of a chunk's key.
const CHUNK: u8 = 2;
/// First byte of the key of a checkpoint's serial number.
const SERIAL: u8 = 3;
/// First byte of a row's key.
const ROW: u8 = 4;

/// The version of what this file describes.
pub const FORMAT_VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"THYMESTO";

/// The most bytes of an entity key that stands in the key of its chunks: the tree below cuts longer keys off
/// without a word. Of a longer one the key has the length and the SHA-256, and each value has all of it.
const ENTITY_KEY_INLINE_MAX: usize = 60_000;
/// Stands where the length of an entity key would, when it is a long one.
const LONG: u16 = u16::MAX;
/// What stands for a long entity key: its length and its SHA-256.
const LONG_BYTES: usize = 4 + 32;
/// The most bytes of an entity key.
pub const ENTITY_KEY_BYTES_MAX: usize = 1 << 28;
/// The most bytes of a fact's name.
pub const META_NAME_BYTES_MAX: usize = 1_000;
/// The most bytes of a value.
pub const VALUE_BYTES_MAX: usize = 1 << 30;

pub fn format_key() -> Vec<u8> {
    vec![FORMAT]
}

pub fn format_value() -> Vec<u8> {
    let mut value = MAGIC.to_vec();
    value.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    value
}

/// The version that a format entry names; `None` when it is none.
pub fn parse_format(value: &[u8]) -> Option<u32> {
    let version = value.strip_prefix(MAGIC)?;
    Some(u32::from_le_bytes(version.try_into().ok()?))
}

pub fn meta_key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(META);
    key.extend_from_slice(name.as_bytes());
    key
}

pub fn serial_prefix() -> Vec<u8> {
    vec![SERIAL]
}

pub fn serial_key(serial: u64) -> Vec<u8> {
    let mut key = serial_prefix();
    key.extend_from_slice(&serial.to_be_bytes());
    key
}

pub fn parse_serial_key(key: &[u8]) -> Option<u64> {
    let serial = key.strip_prefix(&[SERIAL])?;
    Some(u64::from_be_bytes(serial.try_into().ok()?))
}

/// What the keys of all rows of a table begin with.
pub fn table_prefix(table: u8) -> Vec<u8> {
    vec![ROW, table]
}

pub fn row_key(table: u8, row: &[u8]) -> Vec<u8> {
    let mut key = table_prefix(table);
    key.extend_from_slice(row);
    key
}

/// What every chunk key begins with.
pub fn chunk_prefix() -> Vec<u8> {
    vec![CHUNK]
}

pub fn node_prefix(node: u32) -> Vec<u8> {
    let mut key = chunk_prefix();
    key.extend_from_slice(&node.to_be_bytes());
    key
}

/// The prefix of one entity's chunks.
pub fn entity_prefix(node: u32, entity: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(11 + entity.len().min(ENTITY_KEY_INLINE_MAX));
    key.extend_from_slice(&node_prefix(node));
    if is_long(entity) {
        key.extend_from_slice(&LONG.to_be_bytes());
        key.extend_from_slice(&(entity.len() as u32).to_be_bytes());
        key.extend_from_slice(&Sha256::digest(entity));
    } else {
        key.extend_from_slice(&(entity.len() as u16).to_be_bytes());
        key.extend_from_slice(entity);
    }
    key
}

fn is_long(entity: &[u8]) -> bool {
    entity.len() > ENTITY_KEY_INLINE_MAX
}

pub fn chunk_key(at: ChunkKey<'_>) -> Vec<u8> {
    let mut key = entity_prefix(at.node, at.key);
    key.extend_from_slice(&at.chunk.to_be_bytes());
    key
}

/// What is stored under a chunk's key: the chunk, with a long entity key before it.
pub fn chunk_value<'a>(entity: &[u8], chunk: &'a [u8]) -> Cow<'a, [u8]> {
    if is_long(entity) { Cow::Owned([entity, chunk].concat()) } else { Cow::Borrowed(chunk) }
}

/// A chunk's key, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedKey<'a> {
    pub node: u32,
    pub chunk: u32,
    entity: Entity<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entity<'a> {
    Inline(&'a [u8]),
    /// Its length; the value begins with it.
    Long(usize),
}

impl ParsedKey<'_> {
    /// The entity key and the chunk, of the value that is stored under this key.
    pub fn open(&self, mut value: Vec<u8>) -> Result<(Box<[u8]>, Vec<u8>)> {
        match self.entity {
            Entity::Inline(entity) => Ok((entity.into(), value)),
            Entity::Long(length) if length <= value.len() => {
                let chunk = value.split_off(length);
                Ok((value.into(), chunk))
            }
            Entity::Long(length) => Err(Error::corrupt(format!(
                "chunk {} of node {} in the store ends within its entity key of {length} bytes; {REBUILD}",
                self.chunk, self.node
            ))),
        }
    }
}

/// Takes a chunk's key apart.
pub fn parse_chunk_key(key: &[u8]) -> Result<ParsedKey<'_>> {
    fn parse(key: &[u8]) -> Option<ParsedKey<'_>> {
        let (node, rest) = key.strip_prefix(&[CHUNK])?.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (entity, chunk) = rest.split_last_chunk::<4>()?;
        let length = u16::from_be_bytes(*length);
        let entity = if length == LONG {
            let long = entity.first_chunk::<4>().filter(|_| entity.len() == LONG_BYTES)?;
            Entity::Long(u32::from_be_bytes(*long) as usize)
        } else {
            Entity::Inline(Some(entity).filter(|entity| entity.len() == usize::from(length))?)
        };
        Some(ParsedKey { node: u32::from_be_bytes(*node), chunk: u32::from_be_bytes(*chunk), entity })
    }
    parse(key).ok_or_else(|| {
        Error::corrupt(format!(
            "the store holds a chunk under a key of {} bytes that is none of its own; {REBUILD}",
            key.len()
        ))
    })
}

/// What damage of the store means.
pub const WHAT_IT_MEANS: &str = "nothing of that is served, and the log has all that was acknowledged";
/// What to do about a damaged store.
pub const REBUILD: &str = "stop the server and run `thyme doctor --data DIR --fix-store` for its directory: the next start rebuilds the store from the log; or restore a backup";

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

/// `value` with the checksum of it and its key before it.
pub fn seal_value(key: &[u8], value: &[u8]) -> Bytes {
    let mut sealed = Vec::with_capacity(4 + value.len());
    sealed.extend_from_slice(&checksum(key, value).to_le_bytes());
    sealed.extend_from_slice(value);
    sealed.into()
}

/// The value inside a sealed one, if it is what was written under `key`.
pub fn open_value(key: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    match sealed.split_first_chunk::<4>() {
        Some((sum, value)) if u32::from_le_bytes(*sum) == checksum(key, value) => Ok(value.to_vec()),
        _ => Err(Error::corrupt(format!(
            "{} in the store does not match its checksum; {REBUILD}",
            describe(key)
        ))),
    }
}

/// What a key stands for, without showing anybody's entity key.
fn describe(key: &[u8]) -> String {
    if let Some(name) = key.strip_prefix(&[META]) {
        return format!("the fact \"{}\"", String::from_utf8_lossy(name));
    }
    match parse_chunk_key(key) {
        Ok(ParsedKey { node, chunk, entity: Entity::Inline(entity) }) => {
            format!(
                "chunk {chunk} of node {node}, entity key with the CRC32C {:08x},",
                crc32c::crc32c(entity)
            )
        }
        Ok(ParsedKey { node, chunk, entity: Entity::Long(length) }) => {
            format!("chunk {chunk} of node {node}, entity key of {length} bytes,")
        }
        Err(_) => format!("an entry of kind {}", key.first().copied().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_key_gives_back_its_parts_and_sorts_by_node_entity_and_chunk() {
        let parts: [(u32, &[u8], u32); 6] =
            [(0, b"", 0), (0, b"a", 0), (0, b"a", 256), (0, b"b", 1), (0, b"aa", 0), (1, b"a", 0)];
        let keys = parts.map(|(node, key, chunk)| chunk_key(ChunkKey { node, key, chunk }));
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        for (key, (node, entity, chunk)) in keys.iter().zip(parts) {
            let entity = Entity::Inline(entity);
            assert_eq!(parse_chunk_key(key).unwrap(), ParsedKey { node, chunk, entity });
        }
    }

    #[test]
    fn a_long_entity_key_is_in_the_value_and_its_length_and_hash_are_in_the_key() {
        for length in [ENTITY_KEY_INLINE_MAX, ENTITY_KEY_INLINE_MAX + 1, 65_535, 65_536, 1_000_000] {
            let entity = vec![b'a'; length];
            let at = ChunkKey { node: 7, key: &entity, chunk: 3 };
            let key = chunk_key(at);
            assert!(key.len() < 65_536);
            assert_ne!(key, chunk_key(ChunkKey { key: &[&entity[1..], b"b"].concat(), ..at }));
            let parsed = parse_chunk_key(&key).unwrap();
            assert_eq!((parsed.node, parsed.chunk), (7, 3));
            let value = chunk_value(&entity, b"chunk").into_owned();
            assert_eq!(parsed.open(value).unwrap(), (entity.clone().into(), b"chunk".to_vec()));
            if is_long(&entity) {
                assert!(parsed.open(b"short".to_vec()).is_err());
                assert!(parse_chunk_key(&key[..key.len() - 1]).is_err());
            }
        }
    }

    #[test]
    fn a_value_is_refused_under_another_key_or_with_any_byte_changed() {
        let key = chunk_key(ChunkKey { node: 7, key: b"k", chunk: 3 });
        let sealed = seal_value(&key, b"value");
        assert_eq!(open_value(&key, &sealed).unwrap(), b"value");
        let mut other = key.clone();
        *other.last_mut().unwrap() += 1;
        let error = open_value(&other, &sealed).unwrap_err().to_string();
        assert!(error.contains("chunk 4 of node 7"), "{error}");
        for at in 0..sealed.len() {
            let mut damaged = sealed.to_vec();
            damaged[at] ^= 1;
            assert!(open_value(&key, &damaged).is_err());
            assert!(open_value(&key, &sealed[..at]).is_err());
        }
    }
}
