//! Pipelines: operators on columns, aggregates, and whether they give the dataset's fields.

mod columns;
mod dedup;
mod join;
mod union;

use super::outputs::{Output, Outputs, show_declared};
use super::scope::{Columns, Scope, is_well_formed};
use super::{Faults, names, place};
use crate::aggregate::{self, Aggregate, Call, ParameterFault, Settings};
use crate::definition::document::{AggregateDef, Assignment, Dataset, OperatorDef, Pipeline, Place};
use crate::definition::show;
use crate::error::nearest;
use crate::expr::{Compiled, Expr};
use crate::value::DataType;

/// A pipeline under check.
struct Check<'a> {
    dataset: &'a Dataset,
    pipeline: &'a Pipeline,
    /// `DriverStats.compute`.
    subject: String,
    place: &'a Place,
}

pub(super) use union::check_several;

pub(super) fn check(dataset: &Dataset, pipeline: &Pipeline, scope: &Scope<'_>, faults: &mut Faults) {
    let subject = format!("{}.{}", dataset.name, pipeline.name);
    let check = Check { dataset, pipeline, subject, place: place(&pipeline.at, &dataset.at) };
    names::check("pipeline", &pipeline.name, &check.subject, check.place, faults);
    names::check_version(pipeline.version, &check.subject, check.place, faults);
    let well_formed = check.is_well_formed(faults);
    let Some(input) = check.inputs(scope, faults) else {
        return;
    };
    let mut columns = Columns::of(input);
    let mut outputs = Outputs::default();
    if !check.operators(&pipeline.operators, (&mut columns, &mut outputs), scope, faults) {
        return;
    }
    if well_formed && pipeline.gives_rows() {
        check.rows_match(&columns, faults);
    } else if well_formed {
        check.outputs_match(&outputs, faults);
    }
}

impl Check<'_> {
    /// Applies operators; false if what follows cannot be checked.
    fn operators(
        &self,
        operators: &[OperatorDef],
        (columns, outputs): (&mut Columns, &mut Outputs),
        scope: &Scope<'_>,
        faults: &mut Faults,
    ) -> bool {
        operators.iter().all(|operator| {
            let go_on = match operator {
                OperatorDef::Filter { expr } => {
                    self.predicate("filter", expr, columns, &self.subject, self.place, faults);
                    true
                }
                OperatorDef::Assign { columns: assigned } => {
                    self.group_keys_stay(assigned, outputs, faults);
                    self.assign(assigned, columns, faults)
                }
                OperatorDef::Join(join) => self.join(join, columns, scope, faults),
                OperatorDef::Dedup(dedup) => self.dedup(dedup, columns, faults),
                OperatorDef::Union(union) => self.union(union, columns, scope, faults),
                OperatorDef::Select(select) => self.select(select, columns, faults),
                OperatorDef::Drop(drop) => self.drop(drop, columns, faults),
                OperatorDef::Rename(rename) => self.rename(rename, columns, faults),
                OperatorDef::Rows(_) => true,
                OperatorDef::Groupby { keys } => {
                    outputs.keys = self.groupby(keys, columns, faults);
                    true
                }
                OperatorDef::Aggregate { aggregates } => {
                    outputs.values = self.aggregates(aggregates, columns, faults);
                    true
                }
            };
            go_on && self.group_keys_remain(outputs, columns, faults)
        })
    }

    /// One of the inputs.
    fn input<'s>(&self, name: &str, scope: &Scope<'s>, faults: &mut Faults) -> Option<&'s Dataset> {
        let Some(input) = scope.dataset(name) else {
            let message = format!(
                "{} reads the dataset {name}, which is not there; {}",
                self.subject,
                scope.near_datasets(name)
            );
            faults.add(self.place, &self.subject, "a dataset", name, message);
            return None;
        };
        if name == self.dataset.name {
            let message =
                format!("{} reads {name}, the dataset that it makes itself; read another one", self.subject);
            faults.add(self.place, &self.subject, "another dataset", name, message);
            return None;
        }
        if input.is_derived() && !input.has_derived_rows() {
            let message = format!(
                "{} reads {name}, whose pipeline ends in aggregates; this version takes raw datasets and those whose pipeline ends in rows: start from what {name} is made of",
                self.subject
            );
            faults.add(self.place, &self.subject, "a dataset of rows", name, message);
            return None;
        }
        if input.is_keyed() {
            let message = format!(
                "{} reads {name}, whose rows replace each other (cdc), and this version's pipelines take rows that add up: .join {name} to the events that need it, or push the changes to a dataset without cdc and aggregate that",
                self.subject
            );
            faults.add(self.place, &self.subject, "a dataset without cdc", name, message);
            return None;
        }
        Some(input)
    }

    fn predicate(
        &self,
        what: &str,
        expr: &Expr,
        columns: &Columns,
        subject: &str,
        place: &Place,
        faults: &mut Faults,
    ) {
        match Compiled::new(expr, &columns.list) {
            Ok(compiled) => {
                if let Some(other) = compiled.data_type().filter(|t| *t != DataType::Bool) {
                    let message = format!(
                        "the {what} of {subject}, {expr}, is {other}: expected a bool, such as a comparison"
                    );
                    faults.add(place, subject, "bool", other.name(), message);
                }
            }
            Err(error) => {
                let message = format!("the {what} of {subject} is wrong: {error}");
                faults.add(place, subject, "a bool expression", expr.to_string(), message);
            }
        }
    }

    /// Refuses an assign after groupby that would change what was grouped by.
    fn group_keys_stay(&self, assigned: &[Assignment], outputs: &Outputs, faults: &mut Faults) {
        for a in assigned.iter().filter(|a| outputs.keys.iter().any(|(key, _)| *key == a.name)) {
            let subject = format!("{}.{}", self.subject, a.name);
            let message = format!(
                "{} assigns {} after grouping by it; assign it before .groupby",
                self.subject, a.name
            );
            faults.add(self.place, &subject, "a column that is no group key", &a.name, message);
        }
    }

    /// Applies an assign; false if what follows cannot be checked.
    fn assign(&self, assigned: &[Assignment], columns: &mut Columns, faults: &mut Faults) -> bool {
        let before = faults.list.len();
        let given = assigned.iter().map(|a| (a.name.as_str(), self.place));
        names::check_unique("assigned columns", &self.subject, given, faults);
        let mut typed = Vec::new();
        for Assignment { name, expr } in assigned {
            let subject = format!("{}.{name}", self.subject);
            names::check("column", name, &subject, self.place, faults);
            if columns.timestamp.as_ref() == Some(name) {
                let message = format!(
                    "{} assigns {name}, the event time, which no operator may replace; choose another name",
                    self.subject
                );
                faults.add(self.place, &subject, "another column", name, message);
            }
            match Compiled::new(expr, &columns.list).map(|c| c.data_type()) {
                Ok(Some(data_type)) => typed.push((name, data_type)),
                Ok(None) => {
                    let message = format!(
                        "{} assigns {name} = None, which has no type; leave the column out",
                        self.subject
                    );
                    faults.add(self.place, &subject, "an expression with a type", "None", message);
                }
                Err(error) => {
                    let message = format!("the assigned column {name} of {} is wrong: {error}", self.subject);
                    faults.add(self.place, &subject, "an expression", expr.to_string(), message);
                }
            }
        }
        for (name, data_type) in typed {
            columns.set(name, data_type);
        }
        faults.list.len() == before
    }

    fn groupby(&self, keys: &[String], columns: &Columns, faults: &mut Faults) -> Vec<Output> {
        if keys.is_empty() {
            let message = format!(
                "{} groups by nothing; name the entity's columns, as .groupby(\"driver\")",
                self.subject
            );
            faults.add(self.place, &self.subject, "column names", "none", message);
        }
        names::check_unique(
            "group keys",
            &self.subject,
            keys.iter().map(|k| (k.as_str(), self.place)),
            faults,
        );
        for key in keys {
            match columns.data_type(key) {
                None => self.unknown_column("groups by", key, columns, &self.subject, self.place, faults),
                Some(given) if !given.is_key() => {
                    let message = format!(
                        "{} groups by {key}, of type {given}; a key is int, str, bool, datetime or date",
                        self.subject
                    );
                    let expected = "int, str, bool, datetime or date";
                    faults.add(self.place, &self.subject, expected, given.name(), message);
                }
                Some(_) => {}
            }
        }
        keys.iter().map(|key| (key.clone(), columns.data_type(key))).collect()
    }

    fn unknown_column(
        &self,
        does: &str,
        name: &str,
        columns: &Columns,
        subject: &str,
        place: &Place,
        faults: &mut Faults,
    ) {
        let error = crate::expr::typing::unknown_column(name, &columns.list);
        faults.add(place, subject, "a column", name, format!("{subject} {does} \"{name}\": {error}"));
    }

    fn aggregates(&self, given: &[AggregateDef], columns: &Columns, faults: &mut Faults) -> Vec<Output> {
        let at = |a: &'_ AggregateDef| {
            if a.at.file.is_empty() { self.place.clone() } else { a.at.clone() }
        };
        let places: Vec<Place> = given.iter().map(at).collect();
        let named = given.iter().zip(&places).map(|(a, place)| (a.name.as_str(), place));
        names::check_unique("aggregates", &self.subject, named, faults);
        given
            .iter()
            .zip(&places)
            .map(|(a, place)| (a.name.clone(), self.aggregate(a, place, columns, faults)))
            .collect()
    }

    /// The output's type, if the aggregate is sound enough to have one.
    fn aggregate(
        &self,
        def: &AggregateDef,
        place: &Place,
        columns: &Columns,
        faults: &mut Faults,
    ) -> Option<DataType> {
        let subject = format!("{}.{}", self.subject, def.name);
        names::check("aggregate", &def.name, &subject, place, faults);
        if let Some(predicate) = &def.predicate {
            self.predicate("where", predicate, columns, &subject, place, faults);
        }
        let of = match &def.of {
            None => None,
            Some(name) => match columns.data_type(name) {
                Some(data_type) => Some(data_type),
                None => {
                    self.unknown_column("aggregates", name, columns, &subject, place, faults);
                    return None;
                }
            },
        };
        let Some(function) = aggregate::lookup(&def.function) else {
            self.unknown_function(def, &subject, place, faults);
            return None;
        };
        let mut call = self.call(function, def, of, &subject, place, faults)?;
        if let Some((parameter, name)) = aggregate::further(function, &def.parameters) {
            call.by = columns.data_type(name);
            if call.by.is_none() {
                let does = format!("names with {parameter}= the column");
                self.unknown_column(&does, name, columns, &subject, place, faults);
                return None;
            }
        }
        let output = match function.output_type(&call) {
            Ok(output) => output,
            Err(error) => {
                let got = call.by.or(of).map_or("no field", DataType::name);
                faults.add(
                    place,
                    &subject,
                    "a field it is defined on",
                    got,
                    format!("{subject} is wrong: {error}"),
                );
                return None;
            }
        };
        if let Some(default) = &def.default
            && let Err(error) = default.value(output)
        {
            let message = format!("the default of {subject} does not fit its type {output}: {error}");
            faults.add(place, &subject, output.name(), default.to_string(), message);
        }
        Some(output)
    }

    /// What the aggregate is applied to, if its parameters are sound and it has the window that it needs.
    fn call(
        &self,
        function: &dyn Aggregate,
        def: &AggregateDef,
        of: Option<DataType>,
        subject: &str,
        place: &Place,
        faults: &mut Faults,
    ) -> Option<Call> {
        if function.needs_window() && def.window.is_none_or(|window| !window.has_length()) {
            let message =
                format!("{subject} is wrong: {} needs a window, such as window=\"1h\"", def.function);
            faults.add(place, subject, "a window", "none", message);
            return None;
        }
        match Settings::of(function, &def.parameters) {
            Ok(settings) => Some(Call { of, by: None, settings }),
            Err(wrong) => {
                for ParameterFault { expected, got, message } in wrong {
                    faults.add(place, subject, expected, got, format!("{subject} is wrong: {message}"));
                }
                None
            }
        }
    }

    fn unknown_function(&self, def: &AggregateDef, subject: &str, place: &Place, faults: &mut Faults) {
        let known = || aggregate::all().iter().map(|a| a.name());
        let all = known().collect::<Vec<_>>().join(", ");
        let hint = match nearest(&def.function, known()).as_slice() {
            [] => format!("this version has {all}"),
            near => format!("did you mean {}?", near.join(", ")),
        };
        let message = format!("{subject} uses the unknown aggregate \"{}\"; {hint}", def.function);
        faults.add(place, subject, all, &def.function, message);
    }

    /// Compares what the pipeline gives with what the dataset declares.
    fn outputs_match(&self, outputs: &Outputs, faults: &mut Faults) {
        let problems = outputs.problems(self.dataset);
        if problems.is_empty() {
            return;
        }
        let (declared, given) = (show_declared(self.dataset), outputs.show());
        let message = format!(
            "{} does not give the fields of {}: {}. Declared: [{declared}]; given: [{given}]",
            self.subject,
            self.dataset.name,
            show::list(problems)
        );
        faults.add(self.place, &self.subject, declared, given, message);
    }

    /// Whether it ends in one aggregate after one groupby, or has neither.
    fn is_well_formed(&self, faults: &mut Faults) -> bool {
        let well_formed = is_well_formed(&self.pipeline.operators);
        if !well_formed {
            let given = show::operator_names(self.pipeline);
            let message = format!(
                "the operators of {} are {given}: expected filter, assign, select, drop, rename, join, dedup, union and one groupby in any order, then one aggregate; or rows, without groupby and aggregate",
                self.subject
            );
            faults.add(
                self.place,
                &self.subject,
                "operators, groupby ..., aggregate, or operators alone",
                given,
                message,
            );
        }
        well_formed
    }
}
