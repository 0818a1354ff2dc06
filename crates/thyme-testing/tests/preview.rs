//! What a plan says of values is, bit for bit, what is answered before the commit and after it: over random
//! definitions and histories, with joins, other and composite keys, late events, nulls and lookups.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "joins/definitions.rs"]
#[expect(dead_code, reason = "what only the oracle needs")]
mod joined;

use std::sync::Arc;

use serde_json::{Value as Json, json};
use thyme_core::definition::{Dataset, Document, Extractor};
use thyme_core::error::ErrorKind;
use thyme_core::schema::Role;
use thyme_core::{Error, EventTime, Position, Result, Value};
use thyme_engine::trial::{Bounds, Progress};
use thyme_engine::{Engine, Options, ReadAt, Snapshot};
use thyme_query::preview::{Asked, Preview, SetPreview, Touch};
use thyme_query::{ColumnBuffer, ExtractorHost, LookupContext, Reader, Wanted};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::{Derived, RAW, Raw, document, parse};
use thyme_testing::ledger::{Event, START_US};
use thyme_testing::random::Random;
use thyme_testing::seeds;

const HISTORIES: u64 = 60;
const WORKERS: u64 = 4;
const NOW_US: i64 = START_US + 5_000_000_000;

/// Runs "extractors" whose code names a dataset: they look up the row that their input names and give its `a0`.
#[derive(Debug, Default)]
struct Lookups(parking_lot::Mutex<Vec<String>>);

impl ExtractorHost for Lookups {
    fn load(&self, _: &str, extractor: &Extractor, _: &[Dataset]) -> Result<u64> {
        let mut loaded = self.0.lock();
        loaded.push(extractor.code.clone());
        Ok(loaded.len() as u64 - 1)
    }

    fn call(
        &self,
        handle: u64,
        times: &[EventTime],
        inputs: &[&ColumnBuffer],
        context: &LookupContext,
    ) -> Result<Vec<Vec<Value>>> {
        let dataset = self.0.lock()[handle as usize].clone();
        let look = |row: usize| -> Result<Value> {
            let key = inputs[0].get(row);
            if key.is_null() {
                return Ok(Value::Null);
            }
            let found = context.lookup(row, &dataset, times[row], &[("k".into(), key)])?;
            Ok(found.into_iter().find(|(name, _)| name == "a0").unwrap().1)
        };
        Ok(vec![(0..times.len()).map(look).collect::<Result<_>>()?])
    }
}

struct World {
    reader: Reader,
    clock: HandClock,
}

impl World {
    fn new(random: &mut Random) -> World {
        let clock = HandClock::at(NOW_US);
        let options = Options { shards: 1 + random.below(3), env: clock.env(), ..Options::default() };
        let engine = Engine::open(options).unwrap();
        World { reader: Reader::new(Arc::new(engine), Arc::<Lookups>::default()), clock }
    }

    fn engine(&self) -> &Engine {
        self.reader.engine()
    }

    fn commit(&self, document: &Document) {
        self.engine().commit(document, |_| Ok(())).unwrap();
    }

    fn push(&self, dataset: &str, lines: &[String]) {
        let catalog = self.engine().catalog();
        let live = catalog.dataset(dataset).unwrap();
        let push = self.engine().read_json(live, lines.iter().map(|l| l.as_bytes())).unwrap();
        let receipt = self.engine().push(push).unwrap();
        self.engine().snapshot(ReadAt { min_position: Some(receipt.position), ..ReadAt::default() }).unwrap();
        self.clock.advance(1_000);
    }

    fn preview(&self, document: &Document, entities: Option<usize>) -> (Preview, Snapshot) {
        let (_, mut trial) = self.engine().try_out(document).unwrap();
        let asked = Asked { entities, times: 4, examples: 10, inputs: Vec::new() };
        let bounds = Bounds { bytes_max: 64 << 20, go_on: &|_| Ok(()) };
        let preview = self.reader.preview(&mut trial, &asked, &bounds).unwrap();
        (preview, trial.live().clone())
    }

    /// One feature of one row, as an online read of one entity gives it.
    fn read(&self, set: &SetPreview, row: usize, id: u32, position: Position) -> Value {
        let at = ReadAt { time: Some(set.rows.times[row]), position: Some(position), ..ReadAt::default() };
        let snapshot = self.engine().snapshot(at).unwrap();
        let plan = self.reader.plan_of(&snapshot.catalog, &set.featureset, Some(&[Wanted::Id(id)])).unwrap();
        let entity: Vec<Value> = set.rows.entity.iter().map(|column| column.get(row)).collect();
        self.reader.query(snapshot, &plan, &[entity], Vec::new()).unwrap().columns[0].get(0)
    }

    /// Compares both sides of previews with reads around the commit; gives how many values there were.
    fn check(&self, document: &Document, previews: &[(Preview, Snapshot)]) -> usize {
        for (preview, live) in previews {
            for set in &preview.sets {
                assert_eq!(set.failure, None, "{}", set.featureset);
                for feature in &set.features {
                    let before = feature.touched.before.is_some();
                    assert_eq!(feature.old.is_some(), before, "{}", feature.touched.feature);
                    for (row, old) in feature.old.iter().flatten().enumerate() {
                        let read = self.read(set, row, feature.touched.id, live.position);
                        assert_eq!(*old, read, "old {}, row {row}", feature.touched.feature);
                    }
                }
            }
        }
        self.commit(document);
        let mut count = 0;
        for (preview, live) in previews {
            for set in &preview.sets {
                for feature in &set.features {
                    for (row, new) in feature.new.iter().enumerate() {
                        let read = self.read(set, row, feature.touched.id, live.position);
                        assert_eq!(*new, read, "new {}, row {row}", feature.touched.feature);
                        let differs = feature.old.as_ref().is_some_and(|old| old[row] != *new);
                        assert_eq!(feature.differ.contains(&row), differs);
                        count += 1;
                    }
                }
            }
        }
        count
    }
}

/// A featureset of all outputs of a derived dataset.
fn featureset(dataset: &Dataset) -> Json {
    let values = dataset.fields.fields.iter().filter(|field| field.role == Role::Value);
    let feature = |(index, field): (usize, &thyme_core::Field)| {
        json!({"id": index + 1, "name": field.name, "type": field.data_type, "optional": true,
            "ref": {"dataset": dataset.name, "field": field.name}})
    };
    json!({"name": format!("F{}", dataset.name), "features": values.enumerate().map(feature).collect::<Vec<_>>()})
}

fn with_featuresets(mut document: Document, more: &[Json]) -> Document {
    let derived = document.datasets.iter().filter(|dataset| dataset.is_derived());
    let sets: Vec<Json> = derived.map(featureset).chain(more.iter().cloned()).collect();
    document.featuresets = parse(json!({"format": 1, "featuresets": sets})).featuresets;
    document
}

/// The same outputs of other rows: a higher version of the pipeline.
fn redefined(derived: &Derived, random: &mut Random) -> Derived {
    let (mut next, mut other) = (derived.clone(), derived.clone());
    next.version += 1;
    for _ in 0..20 {
        other.redefine(random);
        for (output, with) in next.outputs.iter_mut().zip(&other.outputs) {
            (output.window, output.predicate) = (with.window, with.predicate.clone());
        }
        if random.chance(50) {
            break;
        }
    }
    next
}

#[test]
fn what_a_plan_says_is_what_is_answered_around_the_commit() {
    let counts = seeds::each(HISTORIES, WORKERS, |seed| {
        let mut random = Random::new(seed);
        let world = World::new(&mut random);
        let raw = Raw::random(&mut random);
        let mut derived: Vec<Derived> = (0..3).map(|i| Derived::random(&mut random, i)).collect();
        world.commit(&with_featuresets(document(&raw, &derived[..2]), &[]));
        let push = |random: &mut Random| {
            for _ in 0..12 {
                let count = 1 + random.below(20);
                let events: Vec<String> = (0..count).map(|_| Event::random(random).json()).collect();
                world.push(RAW, &events);
            }
        };
        push(&mut random);
        derived[0] = redefined(&derived[0], &mut random);
        let next = with_featuresets(document(&raw, &derived), &[]);
        let mut previews = vec![world.preview(&next, Some(2)), world.preview(&next, None)];
        // What comes later is not in what was said, nor does it change it.
        push(&mut random);
        previews.push(world.preview(&next, Some(3)));
        let touched: Vec<_> = previews[0].0.sets.iter().map(|set| set.featureset.as_str()).collect();
        assert_eq!(touched, ["FD0", "FD2"]);
        (world.check(&next, &previews), previews[1].0.sets[0].features.iter().map(|f| f.differ.len()).sum())
    });
    let (values, differ) = counts.iter().fold((0, 0), |a, b: &(usize, usize)| (a.0 + b.0, a.1 + b.1));
    assert!(values > 20_000 && differ > 1_000, "{values} values were compared, {differ} differ");
}

#[test]
fn what_a_plan_says_of_joins_is_what_is_answered_around_the_commit() {
    let counts = seeds::each(HISTORIES, WORKERS, |seed| {
        let mut random = Random::new(seed);
        let world = World::new(&mut random);
        let all = with_featuresets(joined::document(&mut random, 3), &[]);
        let mut first = all.clone();
        first.datasets.truncate(joined::RAWS.len() + 1);
        first.featuresets.truncate(1);
        world.commit(&first);
        let mut id = 0;
        let mut push = |random: &mut Random| {
            for _ in 0..25 {
                let raw = &joined::RAWS[random.below(3)];
                let lines: Vec<String> = (0..1 + random.below(8))
                    .map(|_| {
                        id += 1;
                        raw.json_row(&raw.random(random, id))
                    })
                    .collect();
                world.push(raw.name, &lines);
            }
        };
        push(&mut random);
        let mut next = all.clone();
        let pipeline = &mut next.datasets[joined::RAWS.len()].pipelines[0];
        pipeline.version += 1;
        let narrower =
            json!({"op": "filter", "expr": {"op": "ge", "args": [{"col": "n"}, {"lit": 1, "type": "int"}]}});
        pipeline.operators.insert(0, serde_json::from_value(narrower).unwrap());
        let mut previews = vec![world.preview(&next, Some(2)), world.preview(&next, None)];
        push(&mut random);
        previews.push(world.preview(&next, Some(3)));
        world.check(&next, &previews)
    });
    let values = counts.iter().sum::<usize>();
    assert!(values > 10_000, "{values} values were compared");
}

/// `D0` by `k`, and a featureset whose extractor looks up the row that the last `s` names.
fn looking_up(version: u32, window: &str) -> Document {
    let dataset = |name: &str, aggregates: Json, fields: &[Json], version: u32| {
        let mut all = vec![
            json!({"name": "k", "type": "str", "role": "key"}),
            json!({"name": "at", "type": "datetime", "role": "timestamp"}),
        ];
        all.extend(fields.iter().cloned());
        json!({"name": name, "fields": all, "pipelines": [{"name": "compute", "version": version,
            "inputs": [RAW], "operators": [
                {"op": "groupby", "keys": ["k"]}, {"op": "aggregate", "aggregates": aggregates}]}]})
    };
    let count = json!({"name": "a0", "type": "int"});
    let last = json!({"name": "s", "type": "str", "optional": true});
    let counts = json!([{"name": "a0", "function": "count", "window": window}]);
    let lasts = json!([{"name": "s", "function": "last", "of": "s"}]);
    let mut made = parse(json!({"format": 1, "datasets": [
        dataset("Counts", counts, &[count], version), dataset("Lasts", lasts, &[last], 1),
    ]}));
    let mut all = document(&Raw::default(), &[]);
    all.datasets.append(&mut made.datasets);
    let set = json!({"name": "Peers", "features": [
        {"id": 1, "name": "k", "type": "str"},
        {"id": 2, "name": "s", "type": "str", "optional": true, "ref": {"dataset": "Lasts", "field": "s"}},
        {"id": 3, "name": "peer", "type": "int", "optional": true},
    ], "extractors": [{"name": "look", "inputs": [{"feature": "s"}], "outputs": ["peer"],
        "deps": ["Counts"], "form": "positional", "code": "Counts"}]});
    all.featuresets = parse(json!({"format": 1, "featuresets": [set]})).featuresets;
    all
}

#[test]
fn what_an_extractor_looks_up_of_others_is_filled_too() {
    let mut differ = 0;
    for seed in 0..10 {
        let mut random = Random::new(seed);
        let world = World::new(&mut random);
        world.commit(&looking_up(1, "1h"));
        for _ in 0..10 {
            let events: Vec<String> = (0..20).map(|_| Event::random(&mut random).json()).collect();
            world.push(RAW, &events);
        }
        let next = looking_up(2, "5s");
        let previews = [world.preview(&next, Some(1)), world.preview(&next, None)];
        let feature = &previews[0].0.sets[0].features;
        assert_eq!(feature.iter().map(|f| f.touched.feature.as_str()).collect::<Vec<_>>(), ["peer"]);
        assert_eq!(feature[0].touched.touch, Touch::Downstream);
        differ += feature[0].differ.len();
        world.check(&next, &previews);
    }
    assert!(differ > 10, "{differ} differ");
}

#[test]
fn a_plan_writes_nothing_and_stops_when_it_is_told_to() {
    let mut random = Random::new(7);
    let world = World::new(&mut random);
    let raw = Raw::default();
    world.commit(&with_featuresets(document(&raw, &[]), &[]));
    for _ in 0..5 {
        let events: Vec<String> = (0..200).map(|_| Event::random(&mut random).json()).collect();
        world.push(RAW, &events);
    }
    let next = with_featuresets(document(&raw, &[Derived::random(&mut random, 0)]), &[]);
    let before = (world.engine().records(), world.engine().catalog().commit.clone(), world.engine().memory());
    let try_it = |bytes_max: u64, go_on: &dyn Fn(Progress) -> Result<()>| {
        let (_, mut trial) = world.engine().try_out(&next).unwrap();
        let asked = Asked { entities: None, times: 4, examples: 10, inputs: Vec::new() };
        world.reader.preview(&mut trial, &asked, &Bounds { bytes_max, go_on }).map(|_| ())
    };
    assert_eq!(try_it(0, &|_| Ok(())).unwrap_err().kind(), ErrorKind::TooLarge);
    let stop = |progress: Progress| match progress.record {
        4.. => Err(Error::unavailable("enough")),
        _ => Ok(()),
    };
    assert_eq!(try_it(1 << 30, &stop).unwrap_err().detail(), "enough");
    try_it(1 << 30, &|_| Ok(())).unwrap();
    let after = (world.engine().records(), world.engine().catalog().commit.clone(), world.engine().memory());
    assert_eq!(before, after);
}

#[test]
fn what_a_commit_takes_is_told_from_the_sample() {
    let mut random = Random::new(11);
    let world = World::new(&mut random);
    let raw = Raw::default();
    world.commit(&with_featuresets(document(&raw, &[]), &[]));
    let rows = 4_000;
    let lines: Vec<String> = (0..rows)
        .map(|row| {
            let at = thyme_core::time::format_rfc3339(START_US + row * 1_000);
            json!({"k": format!("k{}", row % 200), "g": 1, "i": row, "x": 0.5, "s": "a", "at": at})
                .to_string()
        })
        .collect();
    world.push(RAW, &lines);
    let next = looking_up(1, "1h");
    let (part, _) = world.preview(&next, Some(50));
    assert_eq!(part.events_to_read, rows as u64);
    let (whole, _) = world.preview(&next, None);
    assert!(whole.sets[0].entities == 200 && part.sets[0].is_part && !whole.sets[0].is_part);
    let (about, exact) = (part.state_bytes() as f64, whole.state_bytes() as f64);
    assert!(about > exact * 0.5 && about < exact * 2.0, "{about} of {exact}");
}
