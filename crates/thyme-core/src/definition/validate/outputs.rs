//! Whether what a pipeline gives is what its dataset declares.

use std::collections::HashSet;

use crate::definition::document::Dataset;
use crate::definition::show;
use crate::schema::{Field, Role};
use crate::value::DataType;

/// An output's name and type, which is `None` where a fault of its own hides it.
pub(super) type Output = (String, Option<DataType>);

/// What a pipeline gives.
#[derive(Default)]
pub(super) struct Outputs {
    pub(super) keys: Vec<Output>,
    pub(super) values: Vec<Output>,
}

impl Outputs {
    /// The differences from what `dataset` declares, in words.
    pub(super) fn problems(&self, dataset: &Dataset) -> Vec<String> {
        let mut problems = Vec::new();
        for field in with_role(dataset, Role::Key) {
            match self.keys.iter().find(|(name, _)| *name == field.name) {
                None => problems.push(format!("the key {} is not grouped by", field.name)),
                Some((name, Some(given))) if *given != field.data_type => {
                    let declared = field.data_type;
                    problems.push(format!(
                        "the key {name} is declared {declared}, and the grouped column is {given}"
                    ));
                }
                Some(_) => {}
            }
        }
        for field in with_role(dataset, Role::Value) {
            match self.values.iter().find(|(name, _)| *name == field.name) {
                None => problems.push(format!("{} has no aggregate", field.name)),
                Some((name, Some(given))) if !given.fits(field.data_type) => {
                    let declared = field.data_type;
                    problems.push(format!("{name} is declared {declared}, and its aggregate gives {given}"));
                }
                Some(_) => {}
            }
        }
        let extra = undeclared(&self.keys, dataset, Role::Key);
        problems.extend(extra.map(|name| format!("the grouped {name} is not a key field")));
        let extra = undeclared(&self.values, dataset, Role::Value);
        problems.extend(extra.map(|name| format!("the aggregate {name} has no plain field")));
        problems
    }

    /// All of it, for a message.
    pub(super) fn show(&self) -> String {
        let shown = |(name, data_type): &Output, role: &str| {
            format!("{name}: {}{role}", data_type.map_or("?", DataType::name))
        };
        let keys = self.keys.iter().map(|k| shown(k, " (key)"));
        show::list(keys.chain(self.values.iter().map(|v| shown(v, ""))))
    }
}

/// The fields that a pipeline has to give, for a message.
pub(super) fn show_declared(dataset: &Dataset) -> String {
    show::list(with_role(dataset, Role::Key).chain(with_role(dataset, Role::Value)).map(show::field))
}

fn with_role(dataset: &Dataset, role: Role) -> impl Iterator<Item = &Field> {
    dataset.fields.fields.iter().filter(move |f| f.role == role)
}

/// The outputs without a field of their name and role.
fn undeclared<'a>(outputs: &'a [Output], dataset: &'a Dataset, role: Role) -> impl Iterator<Item = &'a str> {
    let declared: HashSet<&str> = with_role(dataset, role).map(|f| f.name.as_str()).collect();
    outputs.iter().map(|(name, _)| name.as_str()).filter(move |name| !declared.contains(name))
}
