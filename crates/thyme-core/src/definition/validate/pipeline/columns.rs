//! Operators that only change which columns there are, and the rows that a pipeline ends in.

use super::{Check, names};
use crate::definition::document::Dataset;
use crate::definition::operators::{DropDef, RenameDef, SelectDef};
use crate::definition::show;
use crate::definition::validate::Faults;
use crate::definition::validate::outputs::Outputs;
use crate::definition::validate::scope::Columns;
use crate::schema::Role;
use crate::value::DataType;

impl Check<'_> {
    /// Applies a select; false if what follows cannot be checked.
    pub(super) fn select(&self, select: &SelectDef, columns: &mut Columns, faults: &mut Faults) -> bool {
        if !self.named(("selects", "selected columns"), &select.columns, columns, faults) {
            return false;
        }
        let timestamp = columns.timestamp.clone();
        columns.list.retain(|(name, _)| select.columns.contains(name) || timestamp.as_ref() == Some(name));
        true
    }

    /// Applies a drop; false if what follows cannot be checked.
    pub(super) fn drop(&self, drop: &DropDef, columns: &mut Columns, faults: &mut Faults) -> bool {
        if !self.named(("drops", "dropped columns"), &drop.columns, columns, faults) {
            return false;
        }
        if let Some(time) = columns.timestamp.as_ref().filter(|time| drop.columns.contains(time)) {
            let message = format!(
                "{} drops {time}, the event time, which every row has; leave it, or call it otherwise with .rename",
                self.subject
            );
            faults.add(self.place, &self.subject, "another column", time, message);
            return false;
        }
        columns.list.retain(|(name, _)| !drop.columns.contains(name));
        true
    }

    /// Applies a rename; false if what follows cannot be checked.
    pub(super) fn rename(&self, rename: &RenameDef, columns: &mut Columns, faults: &mut Faults) -> bool {
        let before = faults.list.len();
        let from: Vec<String> = rename.columns.iter().map(|c| c.from.clone()).collect();
        self.named(("renames", "renamed columns"), &from, columns, faults);
        let to = rename.columns.iter().map(|c| (c.name.as_str(), self.place));
        names::check_unique("new columns", &self.subject, to, faults);
        for column in &rename.columns {
            let subject = format!("{}.{}", self.subject, column.name);
            names::check("column", &column.name, &subject, self.place, faults);
            if columns.data_type(&column.name).is_some() && !from.contains(&column.name) {
                let message = format!(
                    "{} renames {} to {}, and there is a column {} already; drop that one first, or choose another name",
                    self.subject, column.from, column.name, column.name
                );
                faults.add(self.place, &subject, "a new name", &column.name, message);
            }
        }
        if faults.list.len() > before {
            return false;
        }
        let now = |name: &String| rename.columns.iter().find(|c| c.from == *name).map(|c| c.name.clone());
        columns.list.iter_mut().for_each(|(name, _)| *name = now(name).unwrap_or_else(|| name.clone()));
        columns.timestamp = columns.timestamp.as_ref().map(|time| now(time).unwrap_or_else(|| time.clone()));
        true
    }

    /// Whether some names are given, each once, and all are columns.
    fn named(
        &self,
        (does, what): (&str, &str),
        given: &[String],
        columns: &Columns,
        faults: &mut Faults,
    ) -> bool {
        let before = faults.list.len();
        if given.is_empty() {
            let message = format!("{} {does} no column; name some, or leave the operator out", self.subject);
            faults.add(self.place, &self.subject, "column names", "none", message);
        }
        names::check_unique(
            what,
            &self.subject,
            given.iter().map(|name| (name.as_str(), self.place)),
            faults,
        );
        for name in given.iter().filter(|name| columns.data_type(name).is_none()) {
            self.unknown_column(does, name, columns, &self.subject, self.place, faults);
        }
        faults.list.len() == before
    }

    /// What grouping is by stays what it is.
    pub(super) fn group_keys_remain(
        &self,
        outputs: &Outputs,
        columns: &Columns,
        faults: &mut Faults,
    ) -> bool {
        let before = faults.list.len();
        for (key, _) in outputs.keys.iter().filter(|(key, _)| columns.data_type(key).is_none()) {
            let message = format!(
                "{} takes {key} away after grouping by it; keep the column, or group by it under its new name",
                self.subject
            );
            faults.add(self.place, &self.subject, "the group key", key, message);
        }
        faults.list.len() == before
    }

    /// Compares the columns that a pipeline ends in with the fields that its dataset declares. Columns of the input that
    /// are no fields are left out, so that an input may get more; one that the pipeline made itself is not.
    pub(super) fn rows_match(&self, columns: &Columns, faults: &mut Faults) {
        let problems = self.row_problems(self.dataset, columns);
        if problems.is_empty() {
            return;
        }
        let declared = show::list(self.dataset.fields.fields.iter().map(show::field));
        let given = columns.list.iter().map(|(name, data_type)| {
            let role = if columns.timestamp.as_ref() == Some(name) { " (timestamp)" } else { "" };
            format!("{name}: {data_type}{role}")
        });
        let given = show::list(given);
        let message = format!(
            "{} does not give the fields of {}: {}. Declared: [{declared}]; given: [{given}]",
            self.subject,
            self.dataset.name,
            show::list(problems)
        );
        faults.add(self.place, &self.subject, declared, given, message);
    }

    fn row_problems(&self, dataset: &Dataset, columns: &Columns) -> Vec<String> {
        let mut problems = Vec::new();
        for field in &dataset.fields.fields {
            let name = &field.name;
            let given = columns.data_type(name);
            let fits = |given: DataType| match field.role {
                Role::Key => given == field.data_type,
                _ => given.fits(field.data_type),
            };
            match given {
                _ if field.role == Role::Timestamp => {
                    let time = columns.timestamp.as_deref().unwrap_or_default();
                    if given.is_some() && time != name {
                        problems.push(format!(
                            "the event time {name} is declared, and the column {name} is not the event time, which is {time}: drop or rename the column"
                        ));
                    }
                }
                None => problems.push(format!("there is no column {name}")),
                Some(given) if !fits(given) => {
                    problems
                        .push(format!("{name} is declared {}, and the column is {given}", field.data_type));
                }
                Some(_) => {}
            }
        }
        let is_made = |name: &str| self.pipeline.operators.iter().any(|operator| operator.makes(name));
        let is_extra = |name: &&String| {
            dataset.fields.field(name).is_none() && columns.timestamp.as_ref() != Some(*name) && is_made(name)
        };
        let extra = columns.list.iter().map(|(name, _)| name).filter(is_extra);
        problems.extend(extra.map(|name| format!("the column {name} has no field: declare or .drop it")));
        problems
    }
}
