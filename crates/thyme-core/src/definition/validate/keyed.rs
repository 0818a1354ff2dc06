//! Keyed datasets: whether their rows can replace each other, and what says that one is gone.

use super::Faults;
use crate::definition::document::Dataset;
use crate::definition::show;
use crate::schema::Role;
use crate::value::DataType;

pub(super) fn check(dataset: &Dataset, faults: &mut Faults) {
    let (at, name) = (&dataset.at, &dataset.name);
    if dataset.is_keyed() && dataset.is_derived() {
        let message = format!(
            "{name} has cdc, and a pipeline makes it; only rows that come from outside replace each other: put cdc on the raw dataset, or remove it (lookup gives the latest row either way)"
        );
        faults.add(at, name, "no cdc", "cdc", message);
    } else if dataset.is_keyed() && !dataset.index {
        let message =
            format!("{name} has cdc and no index, and what is looked up is its index; give index=True");
        faults.add(at, name, "index", "none", message);
    }
    let Some(deleted) = &dataset.deleted else { return };
    if !dataset.is_keyed() {
        let message = format!(
            "{name}.{deleted} says that a row is deleted, and the rows of {name} do not replace each other; give the dataset cdc=\"upsert\", or remove deleted=True"
        );
        faults.add(at, name, "cdc", "none", message);
    }
    let Some(field) = dataset.fields.field(deleted) else {
        let message =
            format!("{name} says by {deleted} what is deleted, which is none of its fields; declare it");
        faults.add(at, name, "one of its fields", deleted, message);
        return;
    };
    if field.data_type != DataType::Bool || field.role != Role::Value {
        let subject = format!("{name}.{deleted}");
        let message = format!(
            "{subject} says that a row is deleted and is {}; declare it {deleted}: bool, neither key nor timestamp",
            show::field(field)
        );
        faults.add(at, &subject, "bool", show::field(field), message);
    }
}
