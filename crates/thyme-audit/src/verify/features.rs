//! Features: read as a query reads them, compared with the fields that they refer to.

use std::sync::Arc;

use thyme_core::definition::{MaxAge, OnStale};
use thyme_core::value::Unscaled;
use thyme_core::{DataType, EventTime, Position, Result, Value};
use thyme_engine::Snapshot;
use thyme_oracle::Row;
use thyme_query::plan::{Plan, Read, Source};
use thyme_query::{ColumnBuffer, Detail, Frame, Reader};

use super::{Difference, Report, Round, by_position, field_value};
use crate::choice::{Choice, rank};
use crate::input::Made;
use crate::verify::questions::Question;

/// One feature that refers to a field.
struct Referring<'a> {
    name: String,
    read: &'a Read,
    source: Source,
    data_type: DataType,
    default: Option<Value>,
    max_age: Option<MaxAge>,
}

impl Round {
    pub(super) fn compare_featureset(
        &self,
        reader: &Reader,
        snapshot: &Snapshot,
        featureset: &str,
        report: &mut Report,
    ) -> Result<()> {
        let plan = reader.plan(&snapshot.catalog, featureset)?;
        self.note_others(snapshot, featureset, report)?;
        // What others give and what extractors make of it are not part of what is compared.
        let mut features = Vec::new();
        let mut reduced = Plan {
            name: plan.name.clone(),
            entity: plan.entity.clone(),
            features: Vec::new(),
            selected: false,
            slots: plan.slots.clone(),
            versions: plan.versions.clone(),
            max_ages: plan.max_ages.clone(),
            entity_slots: Vec::new(),
            requests: Vec::new(),
            unused: Vec::new(),
            reads: Vec::new(),
            calls: Vec::new(),
        };
        for read in &plan.reads {
            for (source, slot) in &read.targets {
                // The first one has the present name.
                let Some(column) = plan.features.iter().find(|c| c.slot == *slot) else { continue };
                let name = column.name.clone();
                let (data_type, default) = plan.slots[*slot].clone();
                let max_age = plan.max_ages[*slot].as_ref().map(|aging| aging.max_age);
                features.push(Referring { name, read, source: *source, data_type, default, max_age });
                reduced.features.push(column.clone());
            }
            let targets = read.targets.clone();
            reduced.reads.push(Read { node: read.node.clone(), key: read.key.clone(), targets });
        }
        for feature in &features {
            report.item(&format!("{featureset}.{}", feature.name));
        }
        for (position, questions) in by_position(self.entities_of(&plan, snapshot)) {
            let mut at = snapshot.clone();
            at.position = position;
            let rows = questions.len();
            let mut entity: Vec<ColumnBuffer> =
                plan.entity.iter().map(|(_, t)| ColumnBuffer::nulls(*t, rows)).collect();
            for (row, question) in questions.iter().enumerate() {
                for (column, value) in entity.iter_mut().zip(&question.key) {
                    column.set(row, value.clone());
                }
            }
            let times = questions.iter().map(|q| q.time).collect();
            // One value that is refused because it is stale must not keep the others from being compared.
            let answer = reader.evaluate_with(
                at,
                &reduced,
                &Frame { entity, times, positions: None, inputs: Vec::new() },
                Detail::Facts,
            )?;
            for (feature, column) in features.iter().zip(&answer.columns) {
                for (row, question) in questions.iter().enumerate() {
                    self.compare_feature(&plan, feature, question, column.get(row), report);
                }
            }
        }
        Ok(())
    }

    fn compare_feature(
        &self,
        plan: &Plan,
        feature: &Referring<'_>,
        question: &Question,
        served: Value,
        report: &mut Report,
    ) {
        let Some(target) = self.pass.target(&feature.read.node.dataset) else { return };
        let key: Vec<Value> = feature
            .read
            .key
            .iter()
            .map(|&part| question.key.get(part).cloned().unwrap_or_default())
            .collect();
        // An entity of another dataset may be none whose rows were kept.
        let Some(rows) = target.rows_of(&key) else { return };
        if target.is_as_known_then() && question.position != self.pass.until() {
            return;
        }
        let name = format!("{}.{}", plan.name, feature.name);
        let recomputed = match feature.value(&target.made, &key, rows, question.time, question.position) {
            Ok(value) => value,
            Err(error) => return report.note(&name, error.to_string()),
        };
        let names = plan.entity.iter().map(|(n, _)| n.clone());
        report.compare(Difference {
            name,
            entity: names.zip(question.key.iter().cloned()).collect(),
            time: question.time,
            position: question.position,
            served,
            recomputed,
        });
    }

    /// What is asked of a featureset: the questions of the first dataset that it reads, with the parts of its
    /// entity that another dataset's key names taken from that one's entities.
    fn entities_of(&self, plan: &Plan, snapshot: &Snapshot) -> Vec<Question> {
        let mut asked = Vec::new();
        let Some(first) = plan.reads.first() else { return asked };
        for question in self.questions(&first.node.dataset, snapshot) {
            let mut entity: Vec<Option<Value>> = vec![None; plan.entity.len()];
            let place = |entity: &mut Vec<Option<Value>>, read: &Read, key: &[Value]| {
                for (&part, value) in read.key.iter().zip(key) {
                    if let Some(empty @ None) = entity.get_mut(part) {
                        *empty = Some(value.clone());
                    }
                }
            };
            place(&mut entity, first, &question.key);
            let mut choice = Choice::new(self.options.seed ^ rank(2, question.time.to_rfc3339().as_bytes()));
            for read in plan.reads.iter().skip(1) {
                let Some(target) = self.pass.target(&read.node.dataset) else { continue };
                let others: Vec<_> = target.entities().collect();
                if let Some(other) = choice.of(&others)
                    && let Ok(key) = thyme_core::EntityKey::decode(&other.key)
                {
                    place(&mut entity, read, &key);
                }
            }
            // A part that no dataset names is of no feature that is compared; one that is null has no entity.
            let complete: Vec<Value> = entity
                .into_iter()
                .zip(&plan.entity)
                .map(|(value, (_, data_type))| value.unwrap_or_else(|| anything(*data_type)))
                .collect();
            if plan.reads.iter().all(|read| snapshot.keeps(&read.node, question.time)) {
                asked.push(Question { key: complete, ..question });
            }
        }
        asked
    }

    /// Says of the features that are not compared what stands for them.
    fn note_others(&self, snapshot: &Snapshot, featureset: &str, report: &mut Report) -> Result<()> {
        let definition = snapshot.catalog.featureset(featureset)?;
        for feature in definition.features.iter().filter(|f| f.reference.is_none()) {
            let note = match definition.giver(&feature.name) {
                _ if feature.request => "given by the caller".to_owned(),
                None => "the entity itself".to_owned(),
                Some(extractor) => {
                    let inputs = extractor.inputs.iter().map(|i| match &i.featureset {
                        Some(other) => format!("{other}.{}", i.feature),
                        None => i.feature.clone(),
                    });
                    let deps = extractor.deps.iter().map(|d| format!("rows of {d}"));
                    let of: Vec<String> = inputs.chain(deps).collect();
                    let maker = match extractor.expression() {
                        Some(expr) => format!("the expression {expr}"),
                        None => format!("the extractor {}", extractor.name),
                    };
                    format!("made by {maker} from {}: verified through these", of.join(", "))
                }
            };
            report.note(&format!("{featureset}.{}", feature.name), note);
        }
        Ok(())
    }
}

impl Referring<'_> {
    /// The feature at `(T, S)`, computed by the oracle: the field, as wide as the feature, with its
    /// default, and what stands for it when it is stale.
    fn value(
        &self,
        made: &Made,
        key: &[Value],
        rows: &[Row],
        time: EventTime,
        position: Position,
    ) -> Result<Value> {
        let node = &self.read.node;
        let field = match self.source {
            Source::Key(part) => key.get(part).cloned().unwrap_or_default(),
            Source::Timestamp if !made.pipeline.outputs.is_empty() => Value::Datetime(time.0),
            Source::Timestamp => {
                let latest = made.pipeline.latest(rows, time, position);
                latest.map_or(Value::Null, |row| Value::Datetime(row.time.0))
            }
            Source::Value(index) => {
                let output = node.outputs.get(index).map(|o| o.name.as_str());
                let column = node.columns.get(index).map(|f| f.name.as_str());
                field_value(made, output.or(column).unwrap_or_default(), rows, time, position)?
            }
        };
        if let Some(max_age) = self.max_age
            && let Some(latest) = made.pipeline.latest(rows, time, position)
            && time.0 - latest.time.0 > max_age.span.0
        {
            let default = self.default.clone().filter(|_| max_age.on_stale == OnStale::Default);
            return Ok(default.unwrap_or_default());
        }
        let value = field.widen(self.data_type).unwrap_or_default();
        Ok(if value.is_null() { self.default.clone().unwrap_or_default() } else { value })
    }
}

/// Some value of a type.
fn anything(data_type: DataType) -> Value {
    match data_type {
        DataType::Int => Value::Int(0),
        DataType::Float => Value::Float(0.0),
        DataType::Str => Value::Str("".into()),
        DataType::Bool => Value::Bool(false),
        DataType::Datetime => Value::Datetime(0),
        DataType::Date => Value::Date(0),
        DataType::Bytes => Value::Bytes(Arc::default()),
        DataType::Decimal(scale) => Value::Decimal(scale, Unscaled::new(0)),
        DataType::List(item) => Value::List(item, Arc::default()),
        DataType::Map(item) => Value::Map(item, Arc::default()),
        DataType::Vector(length) => Value::Vector(vec![0.0; length as usize].into()),
        DataType::Json => Value::Json("null".into()),
    }
}
