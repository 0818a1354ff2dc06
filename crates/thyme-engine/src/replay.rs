//! Reading the log again: rows with the verdicts that they were given.

use std::collections::{BTreeMap, HashMap};

use arrow::array::BooleanBufferBuilder;
use thyme_core::definition::Dataset;
use thyme_core::{Error, Result};
use thyme_log::Record;

use crate::admission::{self, LeftOut, Limits, Watermark};
use crate::applier::Progress;
use crate::base::Base;
use crate::catalog::{self, Ids};
use crate::decode::columns::event_times;
use crate::event_ids::{Claims, Judge, KnownIds, Rows};
use crate::node::Admitted;
use crate::record::{EventsRecord, Payload, peek_dataset};

/// Watermarks of every stream, moved by the rows alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission {
    pub marks: HashMap<(u32, String), Watermark>,
    /// Which event ids are known, by dataset id.
    pub known_ids: HashMap<u32, KnownIds>,
}

impl Admission {
    /// That goes on from there.
    pub fn of(progress: &Progress) -> Admission {
        let marks = progress.watermarks.iter().map(|(d, s, w)| ((*d, s.clone()), *w));
        Admission { marks: marks.collect(), known_ids: progress.known_ids.clone().into_iter().collect() }
    }

    /// The watermarks, by dataset id and stream.
    pub fn watermarks(&self) -> Vec<(u32, String, Watermark)> {
        let mut marks: Vec<_> = self.marks.iter().map(|((d, s), w)| (*d, s.clone(), *w)).collect();
        marks.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        marks
    }

    /// Which event ids are known, by dataset id.
    pub fn known_ids(&self) -> BTreeMap<u32, KnownIds> {
        self.known_ids.iter().map(|(dataset, known)| (*dataset, *known)).collect()
    }

    /// The rows' verdicts.
    pub fn admit(
        &mut self,
        (number, record): (u64, &EventsRecord),
        definition: &Dataset,
        stamp: i64,
        claims: Option<&Claims>,
    ) -> Result<Admitted> {
        let times = event_times(&record.batch, definition.time_field())?;
        let mark = self.marks.entry((record.dataset, record.stream.clone())).or_default();
        let mut admitted = Admitted { numbers: record.row_numbers(), ..Admitted::default() };
        let mut kept: Option<BooleanBufferBuilder> = None;
        let limits = catalog::limits(definition, &record.stream);
        let rows = Rows { number, record, times: times.values() };
        let known = self.known_ids.get(&record.dataset).copied().unwrap_or_default();
        let judge = verdicts(rows, (definition, stamp, limits), mark, (claims, known), |row, why| {
            let kept = kept.get_or_insert_with(|| {
                let mut kept = BooleanBufferBuilder::new(times.len());
                kept.append_n(times.len(), true);
                kept
            });
            kept.set_bit(row, false);
            match why {
                LeftOut::Late(watermark) => admitted.late.push(watermark),
                LeftOut::Duplicate(of) => admitted.duplicates.push((row as u32, of)),
            }
        })?;
        admitted.kept = kept.map(|mut kept| kept.finish());
        admitted.newest = match (&record.remains.left, &admitted.kept) {
            (Some(left), _) => left.newest,
            (None, None) => times.values().iter().max().copied(),
            (None, Some(kept)) => kept.set_indices().map(|row| times.value(row)).max(),
        };
        if let Some(judge) = judge.filter(|_| !times.is_empty() || record.remains.left.is_some()) {
            self.known_ids.insert(record.dataset, judge.known(admitted.newest));
        }
        Ok(admitted)
    }

    /// The watermark of a stream.
    pub fn watermark(&self, record: &EventsRecord) -> Option<i64> {
        self.marks.get(&(record.dataset, record.stream.clone())).and_then(|mark| mark.largest)
    }
}

/// Moves the watermark over a record and names its rows that do not count, by index among those that are left, each
/// with the reason. Those that count claim their ids.
fn verdicts(
    rows: Rows<'_>,
    (definition, stamp, limits): (&Dataset, i64, Limits),
    mark: &mut Watermark,
    (claims, known): (Option<&Claims>, KnownIds),
    mut left_out: impl FnMut(usize, LeftOut),
) -> Result<Option<Judge>> {
    let judge = claims.map(|claims| claims.judge(rows, (definition, stamp, known)));
    let mut judge = judge.transpose()?.flatten();
    match &rows.record.remains.left {
        // They were given when the record was whole.
        Some(left) => {
            let late = left.late.iter().zip(&left.behind).map(|(row, behind)| (*row, LeftOut::Late(*behind)));
            let duplicates = left.duplicates.iter().map(|row| (*row, LeftOut::Duplicate(None)));
            let mut out: Vec<(u32, LeftOut)> = late.chain(duplicates).collect();
            out.sort_unstable_by_key(|(row, _)| *row);
            let mut next = out.iter().copied().peekable();
            for row in 0..rows.times.len() {
                match (next.next_if(|(out, _)| *out as usize == row), &mut judge) {
                    (Some((_, why)), _) => left_out(row, why),
                    (None, Some(judge)) => judge.counts(row),
                    (None, None) => {}
                }
            }
            mark.largest = left.watermark;
        }
        None => {
            let duplicate_of = |row| judge.as_mut().and_then(|judge| judge.duplicate_of(row));
            admission::admit(rows.times, stamp, limits, mark, duplicate_of, left_out);
        }
    }
    if let (Some(claims), Some(judge)) = (claims, &judge) {
        claims.take(judge)?;
    }
    Ok(judge)
}

/// Gives the verdicts again from the log alone, under the limits that were committed at each position, so
/// they are the ones of the first time. It is to be given every record from that of the base on.
#[derive(Debug)]
pub(crate) struct Replay {
    ids: Ids,
    limits: HashMap<u32, Dataset>,
    admission: Admission,
    /// By dataset id.
    claims: HashMap<u32, Claims>,
}

impl Replay {
    /// From the record that `base` stands before, when `ids` and who has claimed which event id are known.
    pub fn of(base: &Base, ids: Ids, claims: HashMap<u32, Claims>) -> Replay {
        let limits = base.definitions.iter().map(|(id, definition)| (*id, definition.clone())).collect();
        Replay { ids, limits, admission: Admission::of(&base.progress), claims }
    }

    /// Of one dataset alone, from before a record: as it was committed then, with the watermarks of its streams.
    pub fn of_one(
        ids: Ids,
        (dataset, definition): (u32, Dataset),
        watermarks: &[(String, Option<i64>)],
        claims: Option<Claims>,
    ) -> Replay {
        let mark = |(stream, largest): &(String, Option<i64>)| {
            ((dataset, stream.clone()), Watermark { largest: *largest })
        };
        Replay {
            ids,
            limits: HashMap::from([(dataset, definition)]),
            admission: Admission { marks: watermarks.iter().map(mark).collect(), ..Admission::default() },
            claims: claims.into_iter().map(|claims| (dataset, claims)).collect(),
        }
    }

    /// As if it had been given commits of these datasets, of which it was given no rows.
    pub fn under(mut self, datasets: Vec<Dataset>) -> Replay {
        self.learn(datasets);
        self
    }

    /// Takes the next record, and gives the rows and verdicts of one of the datasets that are `wanted`, as
    /// `edit` leaves it.
    pub fn take(
        &mut self,
        record: &Record,
        wanted: &dyn Fn(u32) -> bool,
        edit: &dyn Fn(EventsRecord) -> Result<EventsRecord>,
    ) -> Result<Option<(EventsRecord, Admitted)>> {
        if peek_dataset(&record.payload).is_some_and(|id| !wanted(id)) {
            return Ok(None);
        }
        match Payload::decode(&record.payload, &|id| self.ids.schema(id))? {
            Payload::Erase(_) => Ok(None),
            Payload::Commit(commit) => {
                self.learn(commit.document.datasets);
                Ok(None)
            }
            Payload::Events(events) => {
                let definition = self.limits.get(&events.dataset).ok_or_else(|| {
                    Error::corrupt(format!("record {} comes before its dataset's commit", record.number))
                })?;
                let events = edit(*events)?;
                let claims = match definition.event_id {
                    Some(_) => Some(&*self.claims.entry(events.dataset).or_insert_with(Claims::passing)),
                    None => None,
                };
                let rows = (record.number, &events);
                let admitted = self.admission.admit(rows, definition, record.stamp, claims)?;
                Ok(Some((events, admitted)))
            }
        }
    }

    /// As if the streams had these watermarks.
    pub fn over(mut self, marks: impl Iterator<Item = ((u32, String), Watermark)>) -> Replay {
        self.admission.marks.extend(marks);
        self
    }

    /// The watermarks of a dataset's streams, by stream.
    pub fn watermarks(&self, dataset: u32) -> Vec<(String, Option<i64>)> {
        let of_dataset = self.admission.marks.iter().filter(|((id, _), _)| *id == dataset);
        let mut all: Vec<_> = of_dataset.map(|((_, stream), mark)| (stream.clone(), mark.largest)).collect();
        all.sort();
        all
    }

    fn learn(&mut self, datasets: Vec<Dataset>) {
        for d in datasets {
            if let Some(id) = self.ids.of(&d) {
                self.limits.insert(id, d);
            }
        }
    }

    /// The dataset that a record is of, as it was committed when the record was written.
    pub fn definition(&self, dataset: u32) -> Option<&Dataset> {
        self.limits.get(&dataset)
    }

    /// The watermark of a record's stream after it.
    pub fn watermark(&self, record: &EventsRecord) -> Option<i64> {
        self.admission.watermark(record)
    }
}
