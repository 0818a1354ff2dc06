//! Joins: whether the other dataset, its key and its fields are what the pipeline takes them for.

use super::Check;
use crate::definition::derivation::DEPTH_MAX;
use crate::definition::document::{Dataset, JoinDef, JoinedField, OperatorDef};
use crate::definition::show;
use crate::definition::validate::scope::{Columns, Scope, hint};
use crate::definition::validate::{Faults, names, place};
use crate::schema::Role;

/// The dataset on the way from a raw one to `dataset` whose rows come and go, or are of several inputs, and what its
/// pipeline does.
fn derived_again<'s>(dataset: &'s Dataset, scope: &Scope<'s>) -> Option<(&'s str, &'static str)> {
    let mut made = Some(dataset);
    for _ in 0..DEPTH_MAX {
        let pipeline = made?.pipelines.first()?;
        let derives_again = |operator: &&OperatorDef| match operator {
            OperatorDef::Join(_) => Some("joins another dataset itself"),
            OperatorDef::Dedup(_) => Some("dedups"),
            OperatorDef::Union(_) => Some("brings several inputs together"),
            _ => None,
        };
        let several = made.filter(|made| made.pipelines.len() > 1).map(|_| "brings several inputs together");
        if let Some(does) = several.or_else(|| pipeline.all_operators().iter().find_map(derives_again)) {
            return made.map(|dataset| (dataset.name.as_str(), does));
        }
        made = pipeline.inputs.first().and_then(|name| scope.dataset(name));
    }
    None
}

impl Check<'_> {
    /// Applies a join; false if what follows cannot be checked.
    pub(super) fn join(
        &self,
        join: &JoinDef,
        columns: &mut Columns,
        scope: &Scope<'_>,
        faults: &mut Faults,
    ) -> bool {
        let before = faults.list.len();
        let Some(right) = self.joined(join, scope, faults) else { return false };
        self.join_keys(join, right, columns, faults);
        self.joined_fields(join, right, columns, faults);
        for field in &join.fields {
            if let Some(found) = right.fields.field(&field.field) {
                columns.set(&field.name, found.data_type);
            }
        }
        faults.list.len() == before
    }

    /// The dataset that is joined.
    fn joined<'s>(&self, join: &JoinDef, scope: &Scope<'s>, faults: &mut Faults) -> Option<&'s Dataset> {
        let (name, at) = (&join.dataset, place(&join.at, self.place));
        let Some(right) = scope.dataset(name) else {
            let message = format!(
                "{} joins the dataset {name}, which is not there; {}",
                self.subject,
                scope.near_datasets(name)
            );
            faults.add(at, &self.subject, "a dataset", name, message);
            return None;
        };
        if self.pipeline.inputs.contains(name) {
            let message = format!(
                "{} joins {name} with itself, and then each event would find itself; put the rows that it looks for into a dataset of their own",
                self.subject
            );
            faults.add(at, &self.subject, "another dataset than the input", name, message);
            return None;
        }
        if right.is_derived() && !right.has_derived_rows() {
            let message = format!(
                "{} joins {name}, whose pipeline ends in aggregates; this version joins raw datasets and rows that pipelines make: join the raw dataset behind it, or bring the two together in a featureset",
                self.subject
            );
            faults.add(at, &self.subject, "a dataset of rows", name, message);
            return None;
        }
        if let Some((maker, does)) = derived_again(right, scope) {
            let message = format!(
                "{} joins {name}, and {maker} on the way to it {does}; this version joins rows of one raw dataset that never change once they are there: do that here instead, or join what {maker} is made of",
                self.subject
            );
            faults.add(at, &self.subject, "rows of one raw dataset", name, message);
            return None;
        }
        Some(right)
    }

    /// A row is looked up by the whole key of its dataset.
    fn join_keys(&self, join: &JoinDef, right: &Dataset, columns: &Columns, faults: &mut Faults) {
        let (subject, at) = (&self.subject, place(&join.at, self.place));
        let mut wanted: Vec<&str> = right.fields.keys().map(|f| f.name.as_str()).collect();
        let mut given: Vec<&str> = join.right_on.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        given.sort_unstable();
        if wanted != given || join.left_on.len() != join.right_on.len() {
            let key = show::list(right.fields.keys().map(|f| f.name.clone()));
            let got = show::list(join.right_on.iter().cloned());
            let message = format!(
                "{subject} joins {} on {got}, and its key is {key}: a join finds rows by the whole key; give on= (or left_on= and right_on=, one column for each) with {key}",
                right.name
            );
            faults.add(at, subject, key, got, message);
            return;
        }
        for (left_name, right_name) in join.left_on.iter().zip(&join.right_on) {
            let Some(key) = right.fields.field(right_name) else { continue };
            match columns.data_type(left_name) {
                None => {
                    self.unknown_column(
                        &format!("joins {} on", right.name),
                        left_name,
                        columns,
                        subject,
                        at,
                        faults,
                    );
                }
                Some(left) if left != key.data_type => {
                    let message = format!(
                        "{subject} joins {} on {left_name}, which is {left}, and {}.{right_name} is {}: both must be of one type",
                        right.name, right.name, key.data_type
                    );
                    faults.add(at, subject, key.data_type.name(), left.name(), message);
                }
                Some(_) => {}
            }
        }
    }

    fn joined_fields(&self, join: &JoinDef, right: &Dataset, columns: &Columns, faults: &mut Faults) {
        let (subject, at) = (&self.subject, place(&join.at, self.place));
        if join.fields.is_empty() {
            let message = format!(
                "{subject} joins {} and takes none of its fields; name them, as fields=[\"city\"]",
                right.name
            );
            faults.add(at, subject, "fields", "none", message);
        }
        let given = join.fields.iter().map(|f| (f.name.as_str(), at));
        names::check_unique("joined fields", subject, given, faults);
        for JoinedField { name, field } in &join.fields {
            names::check("column", name, &format!("{subject}.{name}"), at, faults);
            match right.fields.field(field) {
                None => {
                    let known = || right.fields.fields.iter().filter(|f| f.role != Role::Key);
                    let has = || format!("it has {}", show::list(known().map(|f| f.name.clone())));
                    let near = hint(field, known().map(|f| f.name.as_str()), &has());
                    let message = format!(
                        "{subject} takes the field \"{field}\" of {}, which has none of that name; {near}",
                        right.name
                    );
                    faults.add(at, subject, "a field of the joined dataset", field, message);
                }
                Some(found) if found.role == Role::Key => {
                    let message = format!(
                        "{subject} takes {field} of {}, which is part of its key: each row has it in the column that it is joined on; leave it out",
                        right.name
                    );
                    faults.add(at, subject, "a field that is no key", field, message);
                }
                Some(_) if columns.data_type(name).is_some() => {
                    let message = format!(
                        "{subject} takes {field} of {}, and there is a column {name} already; give it another name, as fields={{\"{}_{field}\": \"{field}\"}}",
                        right.name,
                        right.name.to_lowercase()
                    );
                    faults.add(at, subject, "a new column", name, message);
                }
                Some(_) => {}
            }
        }
    }
}
