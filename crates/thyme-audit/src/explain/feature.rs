//! One feature: the field it refers to, or the extractor and what that takes.

use thyme_core::definition::{Feature, Featureset};
use thyme_core::{DataType, Error, ErrorKind, Result, Value};
use thyme_engine::Snapshot;
use thyme_query::{ColumnBuffer, Reader, Wanted};

use super::{Explanation, Origin, field};

/// Extractors are nested no deeper than this; a commit refuses circles.
const DEPTH_MAX: usize = 200;

/// Who asks about which entity.
pub(super) struct Asker<'a> {
    pub reader: &'a Reader,
    pub snapshot: &'a Snapshot,
    /// The entity of the featureset that was asked about.
    pub entity: &'a [(String, DataType)],
    pub key: &'a [Value],
    pub limit: usize,
    pub inputs: Vec<(String, ColumnBuffer)>,
}

impl Asker<'_> {
    pub fn explanation(&self, featureset: &str, feature: &str, depth: usize) -> Result<Explanation> {
        let catalog = &self.snapshot.catalog;
        let definition = catalog.featureset(featureset)?;
        let found = definition.named(feature)?;
        if depth > DEPTH_MAX {
            return Err(Error::internal(format!("{featureset}.{feature} is made by extractors in a circle")));
        }
        let name = format!("{featureset}.{}", found.name);
        let mut notes = Vec::new();
        if found.name != feature {
            notes.push(format!("{feature} is called {} now", found.name));
        }
        let value = self.value(definition, &found.name, &mut notes)?;
        let origin = if found.request {
            notes.push("the caller gives it with each query".to_owned());
            Origin::Request
        } else if let Some(reference) = &found.reference {
            let live = catalog.dataset(&reference.dataset)?;
            let key = self.key_of(live.definition.fields.keys().map(|f| f.name.as_str()).collect())?;
            let of =
                field::explanation(self.reader, self.snapshot, live, &reference.field, &key, self.limit)?;
            notes.extend(of.notes);
            of.origin
        } else if let Some(extractor) = definition.giver(&found.name) {
            let mut inputs = Vec::new();
            for input in &extractor.inputs {
                let of = input.featureset.as_deref().unwrap_or(featureset);
                inputs.push(self.explanation(of, &input.feature, depth + 1)?);
            }
            notes.extend(extractor.expression().map(|expr| format!("{name} = {expr}")));
            notes.extend(extractor.deps.iter().map(|dataset| {
                format!(
                    "{} looks rows of {dataset} up; explain {dataset}.FIELD shows what they rest on",
                    extractor.name
                )
            }));
            Origin::Extractor {
                name: format!("{featureset}.{}", extractor.name),
                version: extractor.version,
                place: format!("{}:{}", extractor.at.file, extractor.at.line),
                inputs,
                lookups: extractor.deps.clone(),
            }
        } else {
            notes.push("part of the entity".to_owned());
            Origin::Entity
        };
        note_default(found, &origin, &mut notes);
        if let Some(max_age) = definition.max_age_of(found) {
            notes.push(format!(
                "max_age={}: when the newest event is older, on_stale=\"{}\" says what is served",
                max_age.span,
                max_age.on_stale.word()
            ));
        }
        let names = self.entity.iter().map(|(name, _)| name.clone());
        let entity = names.zip(self.key.iter().cloned()).collect();
        Ok(Explanation { name, entity, value, origin, notes })
    }

    /// What a query gives; `None` and a note where only a caller could say.
    fn value(
        &self,
        featureset: &Featureset,
        feature: &str,
        notes: &mut Vec<String>,
    ) -> Result<Option<Value>> {
        let wanted = [Wanted::Name(feature.to_owned())];
        let plan = self.reader.plan_of(&self.snapshot.catalog, &featureset.name, Some(&wanted))?;
        let key = self.key_of(plan.entity.iter().map(|(name, _)| name.as_str()).collect())?;
        let known = |name: &String| plan.request(name).is_some();
        let inputs = self.inputs.iter().filter(|(name, _)| known(name)).cloned().collect();
        match self.reader.query(self.snapshot.clone(), &plan, &[key], inputs) {
            Ok(answer) => {
                let column = answer.names.iter().position(|n| n == feature);
                Ok(column.and_then(|index| answer.columns.get(index)).map(|column| column.get(0)))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::InvalidData | ErrorKind::Extractor | ErrorKind::Stale
                ) =>
            {
                notes.push(error.detail().to_owned());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The values of key fields: by their names in the entity, or in its order where another featureset names
    /// the same entity otherwise.
    fn key_of(&self, names: Vec<&str>) -> Result<Vec<Value>> {
        let by_name = |name: &&str| {
            let index = self.entity.iter().position(|(n, _)| n == name)?;
            self.key.get(index).cloned()
        };
        let found: Vec<Value> = names.iter().filter_map(by_name).collect();
        match () {
            () if found.len() == names.len() => Ok(found),
            () if names.len() == self.key.len() => Ok(self.key.to_vec()),
            () => Err(Error::internal(format!("the entity does not name {}", names.join(", ")))),
        }
    }
}

/// Says when it is the feature's default that is served.
fn note_default(feature: &Feature, origin: &Origin, notes: &mut Vec<String>) {
    let Some(default) = &feature.default else { return };
    match origin {
        Origin::Field(field) if field.served.is_null() => {
            notes.push(format!("{} is null, so the feature's default={default} is served", field.field));
        }
        _ => notes.push(format!("default={default} stands for null")),
    }
}
