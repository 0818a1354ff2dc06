//! What memory is said to take is what it takes, and no more than it may.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::StringArray;
use parking_lot::Mutex;
use thyme_core::aggregate::{Settings, all};
use thyme_core::{DataType, Error, ErrorKind, EventTime, Extent, Position, SystemEnv};
use thyme_store::{Backend, Bytes, CheckpointBatch, ChunkKey, MemoryStore, Pairs, Store, Write};
use thyme_timeline::{Batch, BatchColumn, Layout, Look, Slot, Timeline};

use super::{Keep, Looks, NodeState, hash_key, stripe_of};
use crate::events::EventLog;
use crate::health::Ward;
use crate::residence::Residence;
use crate::rows::NodeRows;

const LONG: &[u8] = b"long";
const WIDE: usize = 4 << 10;

fn layout() -> Layout {
    let slots = ["count", "last"].into_iter().filter_map(|name| {
        let aggregate = all().iter().find(|aggregate| aggregate.name() == name)?;
        Some(Slot::new(*aggregate, Settings::default(), (name == "last").then_some((0, DataType::Str)), None))
    });
    Layout { columns: vec![DataType::Str], slots: slots.collect(), ..Layout::default() }
}

/// Rows of `key` at each second of `seconds`, in a record of their own, each with a string of `wide` bytes.
fn rows(key: &[u8], record: u64, seconds: std::ops::Range<i64>, wide: usize) -> NodeRows {
    let count = (seconds.end - seconds.start) as usize;
    let texts = StringArray::from_iter_values((0..count).map(|row| format!("{row:0wide$}")));
    let batch = Batch {
        positions: (0..count as u32).map(|row| Position::new(record, row).to_bits()).collect(),
        times: seconds.collect(),
        columns: vec![BatchColumn::Strings(texts)],
        ..Batch::default()
    };
    NodeRows::new(batch, std::iter::repeat_n(key, count).collect())
}

struct Case {
    residence: Arc<Residence>,
    state: Arc<NodeState>,
    limit: usize,
}

impl Case {
    fn over<B: Backend + 'static>(backend: &Arc<B>, limit: usize) -> Case {
        let ward = Ward::new(Arc::new(EventLog::new(Arc::new(SystemEnv))), 1);
        let store = Arc::new(Store::over(backend.clone()).unwrap());
        let residence = Residence::new(store, Some(limit), true, ward);
        let state = NodeState::new(&residence, 1, "Rides", &layout());
        state.restore().unwrap();
        Case { residence, state, limit }
    }

    fn insert(&self, key: &[u8], record: u64, seconds: std::ops::Range<i64>, wide: usize) {
        let rows = rows(key, record, seconds, wide);
        let at = Position::end_of(record - 1);
        self.state.insert(stripe_of(hash_key(key)), &[&rows], at).unwrap();
        self.state.relieve();
    }

    /// The entity of many rows of wide strings, all of it in the store alone.
    fn long(limit: usize) -> Case {
        let case = Case::over(&Arc::new(MemoryStore::default()), limit);
        for part in 0..8 {
            case.insert(LONG, part + 1, part as i64 * 1_000..(part as i64 + 1) * 1_000, WIDE);
        }
        case.leave();
        case
    }

    /// Has everything leave memory.
    fn leave(&self) {
        // Nothing that fits is larger.
        while self.residence.resident_bytes() > 0 && self.state.entities().1 > 0 {
            self.residence.admits(self.limit);
        }
    }

    /// How many rows there are in `(after, until]`, read as a query does.
    fn count(&self, after: i64, until: i64) -> thyme_core::Result<String> {
        let (after, until, at) = (EventTime(after), EventTime(until), Position::MAX);
        let layout = self.state.layout();
        let all =
            || (0..2).map(|slot| Look::Fold { slot, extent: Extent::between(after, until), at }).collect();
        let looks = Looks { layout: &layout, all: &all };
        let fold = |timeline: &Timeline| {
            let fold = |slot| timeline.fold(&layout, slot, after, until, at);
            format!("{:?} {}", fold(0), format!("{:?}", fold(1)).len())
        };
        Ok(self.state.read(LONG, Keep::Hot, Some(&looks), fold)?.unwrap())
    }

    fn assert_accounted(&self) {
        let counted: usize = self.state.stripes.iter().map(|stripe| stripe.read().counted()).sum();
        assert_eq!(self.residence.resident_bytes(), counted as u64);
        assert_eq!(self.state.bytes(), counted);
        assert!(counted <= self.limit, "{counted} of {}", self.limit);
    }
}

#[test]
fn an_outline_of_wide_strings_is_accounted_for_and_stays_in_its_bounds() {
    // The entity takes some 32 MiB, each of its chunks one.
    let case = Case::long(8 << 20);
    let base = case.count(7_998, 7_999).map(|_| case.residence.resident_bytes()).unwrap();
    case.assert_accounted();
    for (index, until) in (0..8_000).step_by(97).enumerate() {
        let found = case.count(until - 600, until).unwrap();
        assert!(found.contains(&format!("Int({})", (until + 1).min(600))), "{found} at {until}");
        case.assert_accounted();
        let more = case.residence.resident_bytes().saturating_sub(base);
        assert!(more <= 256 << 10, "{more} bytes more after {index} reads");
    }
}

#[test]
fn what_a_read_has_filled_does_not_stay_when_the_next_chunk_cannot_be_read() {
    let case = Case::long(8 << 20);
    case.count(7_998, 7_999).unwrap();
    let (before, layout) = (case.residence.resident_bytes(), case.state.layout());
    let all = || {
        let at =
            |until| Look::Latest { after: EventTime(i64::MIN), until: EventTime(until), at: Position::MAX };
        (0..8).map(|part| at(part * 1_000 + 100)).collect()
    };
    let looks = Looks { layout: &layout, all: &all };
    // The last of the chunks that are filled.
    let (mut batch, mut ids) = (CheckpointBatch::new(), Vec::new());
    for chunk in case.residence.store().chunks_of(1, LONG) {
        let (_, id, bytes) = chunk.unwrap();
        let whole = Timeline::from_chunks(&layout, [(id, bytes.as_slice())].into_iter(), Position::MAX);
        ids.push((whole.unwrap().newest(), id));
    }
    ids.sort();
    let id = ids[ids.partition_point(|(newest, _)| *newest <= Some(EventTime(7_100)))].1;
    batch.put_chunk(ChunkKey { node: 1, key: LONG, chunk: id }, b"rubbish");
    case.residence.store().spill(batch).unwrap();
    let error = case.state.read(LONG, Keep::Hot, Some(&looks), |_| ()).unwrap_err().to_string();
    assert!(error.contains("Rides"), "{error}");
    case.assert_accounted();
    assert!(case.residence.resident_bytes() <= before + (256 << 10), "{}", case.residence.resident_bytes());
}

#[test]
fn one_entity_that_cannot_be_read_keeps_no_other_from_memory() {
    let backend = Arc::new(MemoryStore::default());
    let keys: Vec<String> = (0..200).map(|key| format!("rider-{key:03}")).collect();
    let case = Case::over(&backend, 8 << 20);
    for (record, key) in (1..).zip(&keys) {
        case.insert(key.as_bytes(), record, 0..3, 10);
    }
    case.leave();
    drop(case);
    // One that is not what was written, and one that was written and is no timeline.
    let pairs: Vec<_> = backend.scan(&[]).map(Result::unwrap).collect();
    let of =
        |key: &str| pairs.iter().find(|(at, _)| at.windows(key.len()).any(|part| part == key.as_bytes()));
    let (at, value) = of(&keys[7]).unwrap();
    let mut damaged = value.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    backend.write(vec![Write { key: at.clone(), value: Some(damaged.into()) }]).unwrap();
    let mut batch = CheckpointBatch::new();
    batch.put_chunk(ChunkKey { node: 1, key: keys[90].as_bytes(), chunk: 0 }, b"rubbish");
    Store::over(backend.clone()).unwrap().spill(batch).unwrap();

    let case = Case::over(&backend, 8 << 20);
    let faults = case.state.warm(&|| false);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].to_string().contains("checksum"), "{}", faults[0]);
    // The one after what cannot be read may lack a part.
    assert!(case.state.entities().1 >= 196, "{:?}", case.state.entities());
    case.assert_accounted();
    let (left, mut given) = (Mutex::new(0), 0);
    let leave = |_| {
        *left.lock() += 1;
        Ok(())
    };
    let all = |timeline: &Timeline| !timeline.is_empty();
    let mut give = |keys: Vec<Box<[u8]>>| {
        given += keys.len();
        Ok(true)
    };
    let again = Case::over(&backend, 8 << 20);
    again.state.each_where(&all, &leave, &mut give).unwrap();
    // Those next to what cannot be told whose it is may lack a part.
    assert!(*left.lock() == 2 && given >= 196, "{given}");
    assert!(again.state.each_where(&all, &Err, &mut |_| Ok(true)).is_err());
    for (index, key) in keys.iter().enumerate() {
        let found = case.state.with(key.as_bytes(), Timeline::len);
        match index {
            7 | 90 => assert!(found.is_err(), "{key}"),
            _ => assert_eq!(found.unwrap(), Some(3), "{key}"),
        }
    }
}

#[test]
fn filling_memory_stays_in_its_bounds() {
    let backend = Arc::new(MemoryStore::default());
    let case = Case::over(&backend, 64 << 20);
    for part in 0..12_u64 {
        let key = format!("part-{part}");
        case.insert(key.as_bytes(), part + 1, 0..256 * (part as i64 + 1), 256);
    }
    case.leave();
    drop(case);
    for limit in [1 << 18, 1 << 19, 1 << 20, 2 << 20, 3 << 20, 16 << 20] {
        let case = Case::over(&backend, limit);
        let faults = case.state.warm(&|| false);
        assert!(faults.is_empty(), "{faults:?}");
        case.assert_accounted();
        assert!(limit < 16 << 20 || case.state.entities() == (12, 12), "{:?}", case.state.entities());
        for part in 0..12_usize {
            let found = case.state.glance(format!("part-{part}").as_bytes(), Timeline::len);
            assert_eq!(found.unwrap(), Some(256 * (part + 1)));
        }
    }
}

/// A store that is in memory and can be full.
#[derive(Debug, Default)]
struct Full {
    inner: MemoryStore,
    is_full: AtomicBool,
}

impl Backend for Full {
    fn write(&self, writes: Vec<Write>) -> thyme_core::Result<()> {
        match self.is_full.load(Ordering::Relaxed) {
            true => Err(Error::unavailable("the disk is full")),
            false => self.inner.write(writes),
        }
    }
    fn get(&self, key: &[u8]) -> thyme_core::Result<Option<Bytes>> {
        self.inner.get(key)
    }
    fn scan(&self, prefix: &[u8]) -> Pairs {
        self.inner.scan(prefix)
    }
    fn first(&self, start: &[u8]) -> thyme_core::Result<Option<Bytes>> {
        self.inner.first(start)
    }
    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }
    fn place(&self) -> String {
        self.inner.place()
    }
}

#[test]
fn rows_for_a_long_entity_load_the_chunks_that_they_go_to_and_no_others() {
    let case = Case::long(8 << 20);
    let loads = || case.residence.facts().loads;
    case.insert(LONG, 9, 8_000..8_010, WIDE);
    let before = loads();
    case.assert_accounted();
    for part in 0..40 {
        // At the end, and among those that were there.
        case.insert(LONG, 10 + 2 * part, 8_010 + part as i64 * 20..8_030 + part as i64 * 20, WIDE);
        case.insert(LONG, 11 + 2 * part, 190 * part as i64..190 * part as i64 + 3, WIDE);
        case.assert_accounted();
        assert!(
            case.count(i64::MIN, 1 << 40).unwrap().contains(&format!("Int({})", 8_010 + (part + 1) * 23))
        );
    }
    assert_eq!(loads(), before, "it was loaded again");
    assert_eq!(case.state.entities(), (1, 0), "it is in the store alone");
    assert_eq!(case.count(190 * 7 - 1, 190 * 7 + 2).unwrap().split(' ').next(), Some("Value(Int(6))"));
    // A record that the log brings again changes nothing.
    case.insert(LONG, 89, 190 * 39..190 * 39 + 3, WIDE);
    let whole = case.state.glance(LONG, Timeline::len).unwrap();
    assert_eq!(whole, Some(8_010 + 40 * 23));
}

#[test]
fn rows_for_a_long_entity_are_kept_in_memory_while_the_store_is_full() {
    let backend = Arc::new(Full::default());
    let case = Case::over(&backend, 1 << 20);
    for part in 0..8 {
        case.insert(LONG, part + 1, part as i64 * 500..(part as i64 + 1) * 500, 256);
    }
    case.leave();
    case.insert(LONG, 9, 4_000..4_001, 256);
    assert_eq!(case.state.entities(), (1, 0));
    backend.is_full.store(true, Ordering::Relaxed);
    case.insert(LONG, 10, 4_001..4_003, 256);
    assert_eq!(case.state.entities(), (1, 1), "all of it is in memory");
    assert!(case.residence.stuck().is_some());
    case.insert(LONG, 11, 4_003..4_004, 256);
    assert!(case.count(3_990, 5_000).unwrap().contains("Int(13)"));
    backend.is_full.store(false, Ordering::Relaxed);
    case.residence.retry();
    case.leave();
    assert!(case.residence.stuck().is_none());
    case.insert(LONG, 12, 4_004..4_005, 256);
    assert_eq!(case.state.entities(), (1, 0));
    assert!(case.count(3_990, 5_000).unwrap().contains("Int(14)"));
    case.assert_accounted();
}

#[test]
fn what_a_crash_left_of_later_records_is_dropped_before_a_long_entity_gets_rows() {
    let case = Case::long(8 << 20);
    case.insert(LONG, 9, 8_000..8_100, WIDE);
    // The log has another record 9 from here on.
    case.insert(LONG, 9, 9_000..9_001, WIDE);
    assert_eq!(case.state.glance(LONG, Timeline::len).unwrap(), Some(8_001));
    case.insert(LONG, 10, 9_001..9_005, WIDE);
    assert_eq!(case.state.glance(LONG, Timeline::len).unwrap(), Some(8_005));
    case.leave();
    case.assert_accounted();
}

#[test]
fn an_entity_that_is_given_up_is_not_changed_any_more_though_it_can_be_read_again() {
    let case = Case::over(&Arc::new(MemoryStore::default()), 8 << 20);
    for (record, key) in (1..).zip(["a", "b"]) {
        case.insert(key.as_bytes(), record, 0..3, 10);
    }
    case.leave();
    case.state.give_up(stripe_of(hash_key(b"a")), b"a".as_slice().into(), &Error::unavailable("for now"));
    let mut edited = 0;
    let mut edit = |_: &mut Timeline| edited += 1;
    assert_eq!(case.state.edit(b"a", Position::MAX, &mut edit).unwrap_err().kind(), ErrorKind::Poisoned);
    case.state.edit(b"b", Position::MAX, &mut edit).unwrap();
    assert_eq!(edited, 1);
}
