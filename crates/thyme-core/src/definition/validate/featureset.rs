//! Featuresets: ids, what gives each feature its value, extractors, the entity.

use std::collections::{HashMap, HashSet};

use super::scope::{Indexed, Scope, hint};
use super::{Faults, names, native, place};
use crate::definition::document::{
    Extractor, Feature, FeatureRef, Featureset, FieldRef, Form, MaxAge, OnStale, Place,
};
use crate::definition::entity::{EntityField, entity_fields};
use crate::definition::show;
use crate::value::DataType;

/// The most features of a featureset.
pub const FEATURES_MAX: usize = 10_000;

/// A featureset under check.
struct Check<'a, 's> {
    featureset: &'a Featureset,
    scope: &'a Scope<'s>,
    /// By feature, the extractors that give it.
    givers: HashMap<&'a str, Vec<&'a Extractor>>,
}

pub(super) fn check(featureset: &Featureset, scope: &Scope<'_>, faults: &mut Faults) {
    let mut givers: HashMap<&str, Vec<&Extractor>> = HashMap::new();
    for extractor in &featureset.extractors {
        for output in &extractor.outputs {
            givers.entry(output).or_default().push(extractor);
        }
    }
    let check = Check { featureset, scope, givers };
    check.names(faults);
    check.ids(faults);
    if let (None, Some(on_stale)) = (featureset.max_age, featureset.on_stale)
        && featureset.features.iter().all(|feature| feature.max_age.is_none())
    {
        let message = format!(
            "{} has on_stale=\"{}\" and neither it nor any of its features says max_age=; give it one, or leave on_stale= out",
            featureset.name,
            on_stale.word()
        );
        faults.add(&featureset.at, &featureset.name, "max_age", "none", message);
    }
    let before = faults.list.len();
    for feature in &featureset.features {
        check.feature(feature, faults);
    }
    let own = scope.featureset(&featureset.name);
    for extractor in &featureset.extractors {
        check.extractor(extractor, own, faults);
    }
    // With an unknown dataset the entity is unknown too.
    if faults.list.len() == before {
        check.entity(faults);
    }
}

impl Check<'_, '_> {
    fn subject(&self, member: &str) -> String {
        format!("{}.{member}", self.featureset.name)
    }

    fn names(&self, faults: &mut Faults) {
        let (name, at) = (&self.featureset.name, &self.featureset.at);
        let (features, extractors) = (&self.featureset.features, &self.featureset.extractors);
        if features.is_empty() {
            faults.add(
                at,
                name,
                "features",
                "none",
                format!("{name} has no features; annotate them in the class"),
            );
        }
        if features.len() > FEATURES_MAX {
            let message = format!(
                "{name} has {} features, more than the {FEATURES_MAX} allowed; split it into several featuresets",
                features.len()
            );
            faults.add(
                at,
                name,
                format!("at most {FEATURES_MAX} features"),
                features.len().to_string(),
                message,
            );
        }
        for feature in features {
            names::check(
                "feature",
                &feature.name,
                &self.subject(&feature.name),
                place(&feature.at, at),
                faults,
            );
        }
        for extractor in extractors {
            let (subject, at) = (self.subject(&extractor.name), place(&extractor.at, at));
            if extractor.form != Form::Expression {
                names::check("extractor", &extractor.name, &subject, at, faults);
            }
            names::check_version(extractor.version, &subject, at, faults);
        }
        let members = features.iter().map(|f| (f.name.as_str(), place(&f.at, at)));
        // An expression has the name of its feature.
        let methods = extractors.iter().filter(|e| e.form != Form::Expression);
        let members = members.chain(methods.map(|e| (e.name.as_str(), place(&e.at, at))));
        names::check_unique("members", name, members, faults);
    }

    fn ids(&self, faults: &mut Faults) {
        let (name, features) = (&self.featureset.name, &self.featureset.features);
        let without: Vec<&Feature> = features.iter().filter(|f| f.id.is_none()).collect();
        if !without.is_empty() && without.len() < features.len() {
            let given = show::list(without.iter().map(|f| f.name.clone()));
            let message = format!(
                "{name} gives ids to some features and not to {given}; give all of them one, or none"
            );
            faults.add(&self.featureset.at, name, "ids for all features or for none", given, message);
        }
        let mut first: HashMap<u32, &str> = HashMap::new();
        for feature in features {
            let Some(id) = feature.id else { continue };
            let (subject, at) = (self.subject(&feature.name), place(&feature.at, &self.featureset.at));
            if id == 0 {
                faults.add(
                    at,
                    &subject,
                    "a positive id",
                    "0",
                    format!("{subject} has the id 0; ids are positive integers"),
                );
            }
            if let Some(other) = first.insert(id, &feature.name) {
                let message = format!(
                    "{subject} has the id {id}, which {} has too; ids are unique in a featureset",
                    self.subject(other)
                );
                faults.add(at, &subject, "a unique id", id.to_string(), message);
            }
        }
    }

    fn feature(&self, feature: &Feature, faults: &mut Faults) {
        let (subject, at) = (self.subject(&feature.name), place(&feature.at, &self.featureset.at));
        if let Some(reference) = &feature.reference {
            self.reference(feature, reference, &subject, at, faults);
        }
        let reference = feature.reference.as_ref().map(|r| format!("ref={}.{}", r.dataset, r.field));
        let request = feature.request.then(|| "request=True".to_owned());
        let named = |e: &&Extractor| match e.form {
            Form::Expression => "expr=".to_owned(),
            _ => format!("extractor {}", e.name),
        };
        let extractors = self.givers.get(feature.name.as_str()).into_iter().flatten().map(named);
        let given: Vec<String> = reference.into_iter().chain(request).chain(extractors).collect();
        if given.len() > 1 {
            let given = given.join(" and ");
            let message = format!("{subject} gets its value from {given}; keep one of them");
            faults.add(at, &subject, "one of ref, request and an extractor", given, message);
        }
        if let Some(default) = &feature.default
            && let Err(error) = default.value(feature.data_type)
        {
            let message =
                format!("the default of {subject} does not fit its type {}: {error}", feature.data_type);
            faults.add(at, &subject, feature.data_type.name(), default.to_string(), message);
        }
        self.max_age(feature, &subject, at, faults);
    }

    /// What it says of the age of its values has to be of values that have one, and has to be possible.
    fn max_age(&self, feature: &Feature, subject: &str, at: &Place, faults: &mut Faults) {
        let is_computed = feature.reference.is_some() || self.givers.contains_key(feature.name.as_str());
        if !is_computed {
            if feature.max_age.is_some() || feature.on_stale.is_some() {
                let message = format!(
                    "{subject} has max_age= or on_stale=, and no event is behind its value: the caller gives it; leave them out"
                );
                faults.add(at, subject, "a feature with ref= or an extractor", "none", message);
            }
            return;
        }
        match self.featureset.max_age_of(feature) {
            None if feature.on_stale.is_some() => {
                let message = format!(
                    "{subject} says what is answered when it is stale, and not when that is; give it max_age=, or the featureset"
                );
                faults.add(at, subject, "max_age", "none", message);
            }
            Some(MaxAge { on_stale: OnStale::Default, .. }) if feature.default.is_none() => {
                let message = format!(
                    "{subject} is answered with its default when it is stale, and has none; give it default=, or on_stale=\"null\""
                );
                faults.add(at, subject, "a default", "none", message);
            }
            _ => {}
        }
    }

    fn reference(
        &self,
        feature: &Feature,
        reference: &FieldRef,
        subject: &str,
        at: &Place,
        faults: &mut Faults,
    ) {
        let FieldRef { dataset: name, field: wanted } = reference;
        let Some(dataset) = self.scope.dataset(name) else {
            let message = format!(
                "{subject} refers to {name}.{wanted}, and there is no dataset {name}; {}",
                self.scope.near_datasets(name)
            );
            faults.add(at, subject, "a dataset", name, message);
            return;
        };
        if !dataset.is_readable() {
            let message = format!(
                "{subject} refers to {name}.{wanted}, and {name} is a raw dataset without an index; declare it with @dataset(index=True)"
            );
            faults.add(at, subject, "a dataset with index=True", format!("{name} without"), message);
        }
        let Some(field) = dataset.fields.field(wanted) else {
            let known = dataset.fields.fields.iter().map(|f| f.name.as_str());
            let message = format!(
                "{subject} refers to {name}.{wanted}, and {name} has no such field; {}",
                hint(wanted, known.clone(), &format!("it has {}", show::list(known.map(str::to_owned))))
            );
            faults.add(at, subject, format!("a field of {name}"), wanted, message);
            return;
        };
        if !field.data_type.fits(feature.data_type) {
            let message = format!(
                "{subject} is declared {}, and {name}.{wanted} is {}; declare it {}",
                feature.data_type, field.data_type, field.data_type
            );
            faults.add(at, subject, field.data_type.name(), feature.data_type.name(), message);
        }
    }

    fn extractor(&self, extractor: &Extractor, own: Option<&Indexed<'_>>, faults: &mut Faults) {
        let (subject, at) = (self.subject(&extractor.name), place(&extractor.at, &self.featureset.at));
        self.outputs(extractor, &subject, at, faults);
        for input in &extractor.inputs {
            self.input(input, own, &subject, at, faults);
        }
        if extractor.form == Form::Expression {
            self.expression(extractor, own, &subject, at, faults);
        }
        for name in &extractor.deps {
            match self.scope.dataset(name) {
                None => {
                    let message = format!(
                        "{subject} depends on the dataset {name}, which is not there; {}",
                        self.scope.near_datasets(name)
                    );
                    faults.add(at, &subject, "a dataset", name, message);
                }
                Some(dataset) if !dataset.is_readable() => {
                    let message = format!(
                        "{subject} looks up {name}, a raw dataset without an index; declare it with @dataset(index=True)"
                    );
                    faults.add(at, &subject, "a dataset with index=True", format!("{name} without"), message);
                }
                Some(_) => {}
            }
        }
    }

    /// An expression, once all of its inputs are there.
    fn expression(
        &self,
        extractor: &Extractor,
        own: Option<&Indexed<'_>>,
        subject: &str,
        at: &Place,
        faults: &mut Faults,
    ) {
        let typed = |input: &FeatureRef| {
            let other = input.featureset.as_deref().filter(|name| *name != self.featureset.name);
            let indexed = other.map_or(own, |name| self.scope.featureset(name))?;
            Some((input.feature.clone(), indexed.feature(&input.feature)?.data_type))
        };
        let inputs: Option<Vec<(String, DataType)>> = extractor.inputs.iter().map(typed).collect();
        if let Some(inputs) = inputs {
            native::check(self.featureset, extractor, &inputs, (subject, at), faults);
        }
    }

    fn outputs(&self, extractor: &Extractor, subject: &str, at: &Place, faults: &mut Faults) {
        if extractor.outputs.is_empty() {
            let message =
                format!("{subject} gives no feature; name its outputs with @extractor_outputs(\"score\")");
            faults.add(at, subject, "outputs", "none", message);
        }
        let features = || self.featureset.features.iter().map(|f| f.name.as_str());
        let known: HashSet<&str> = features().collect();
        for output in &extractor.outputs {
            if !known.contains(output.as_str()) {
                let near = hint(output, features(), "declare it in the class");
                let message = format!(
                    "{subject} gives {output}, which is no feature of {}; {near}",
                    self.featureset.name
                );
                faults.add(at, subject, format!("a feature of {}", self.featureset.name), output, message);
            }
        }
    }

    fn input(
        &self,
        input: &FeatureRef,
        own: Option<&Indexed<'_>>,
        subject: &str,
        at: &Place,
        faults: &mut Faults,
    ) {
        let other = input.featureset.as_deref().filter(|name| *name != self.featureset.name);
        let indexed = match other {
            None => own,
            Some(name) => match self.scope.featureset(name) {
                Some(indexed) => Some(indexed),
                None => {
                    let near = self.scope.near_featuresets(name);
                    let message = format!(
                        "{subject} takes {name}.{}, and there is no featureset {name}; {near}",
                        input.feature
                    );
                    faults.add(at, subject, "a featureset", name, message);
                    return;
                }
            },
        };
        let Some(indexed) = indexed.filter(|i| i.feature(&input.feature).is_none()) else {
            return;
        };
        let known = indexed.featureset.features.iter().map(|f| f.name.as_str());
        let name = &indexed.featureset.name;
        let message = format!(
            "{subject} takes {}, which is no feature of {name}; {}",
            input.feature,
            hint(&input.feature, known.clone(), &format!("it has {}", show::list(known.map(str::to_owned))))
        );
        faults.add(at, subject, format!("a feature of {name}"), &input.feature, message);
    }

    fn entity(&self, faults: &mut Faults) {
        let (name, at) = (&self.featureset.name, &self.featureset.at);
        let entity = match entity_fields(self.featureset, &|name| self.scope.dataset(name)) {
            Ok(entity) => entity,
            Err(error) => {
                faults.add(at, name, "one entity", "conflicting types", error.detail());
                return;
            }
        };
        let is_entity: HashSet<&str> = entity.iter().map(|(name, _)| name.as_str()).collect();
        for feature in &self.featureset.features {
            let given = feature.reference.is_some()
                || feature.request
                || self.givers.contains_key(feature.name.as_str());
            let float = feature.data_type == DataType::Float;
            if !given && (float || !is_entity.contains(feature.name.as_str())) {
                self.without_value(feature, &entity, faults);
            }
        }
        self.entities_of_inputs(&entity, faults);
    }

    fn without_value(&self, feature: &Feature, entity: &[EntityField], faults: &mut Faults) {
        let (subject, at) = (self.subject(&feature.name), place(&feature.at, &self.featureset.at));
        let why = if entity.iter().any(|(name, _)| *name == feature.name) {
            "a float cannot be an entity key".to_owned()
        } else {
            format!("the entity of {} is {}", self.featureset.name, show_entity(entity))
        };
        let message = format!(
            "{subject} has nothing that gives it a value: give it ref=, request=True or an extractor, or name it like the key field it stands for ({why})"
        );
        faults.add(at, &subject, "ref, request, an extractor or a key field's name", "none", message);
    }

    /// A feature of another featureset is computed for the same entity.
    fn entities_of_inputs(&self, entity: &[EntityField], faults: &mut Faults) {
        let mut checked = HashSet::new();
        for extractor in &self.featureset.extractors {
            for other in extractor.inputs.iter().filter_map(|i| i.featureset.as_deref()) {
                if other == self.featureset.name || !checked.insert(other) {
                    continue;
                }
                let Some(indexed) = self.scope.featureset(other) else {
                    continue;
                };
                let Ok(theirs) = entity_fields(indexed.featureset, &|name| self.scope.dataset(name)) else {
                    continue;
                };
                let types = |fields: &[EntityField]| fields.iter().map(|(_, t)| *t).collect::<Vec<_>>();
                if theirs.iter().all(|field| entity.contains(field)) || types(&theirs) == types(entity) {
                    continue;
                }
                let (subject, at) =
                    (self.subject(&extractor.name), place(&extractor.at, &self.featureset.at));
                let (own, theirs) = (show_entity(entity), show_entity(&theirs));
                let message = format!(
                    "{subject} takes a feature of {other}, whose entity is {theirs}, and the entity of {} is {own}; declare the same key features in both",
                    self.featureset.name
                );
                faults.add(at, &subject, theirs, own, message);
            }
        }
    }
}

fn show_entity(entity: &[EntityField]) -> String {
    show::list(entity.iter().map(|(name, data_type)| format!("{name}: {data_type}")))
}
