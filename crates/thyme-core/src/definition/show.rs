//! Parts of definitions as users write them, for messages.

use std::fmt;

use super::dedup::DedupDef;
use super::document::{AggregateDef, How, JoinDef, OperatorDef, Pipeline};
use super::union::BranchDef;
use crate::schema::{Field, Role};

/// The most items a message lists.
const LISTED_MAX: usize = 40;

/// Up to [`LISTED_MAX`] items, comma-separated.
pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    let mut items = items.into_iter();
    let mut shown: Vec<String> = items.by_ref().take(LISTED_MAX).collect();
    if items.next().is_some() {
        shown.push("...".to_owned());
    }
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}

/// The operators' names, in order.
pub(super) fn operator_names(pipeline: &Pipeline) -> String {
    list(pipeline.operators.iter().map(|o| o.name().to_owned()))
}

fn quoted(names: &[String]) -> String {
    list(names.iter().map(|name| format!("{name:?}")))
}

/// `Ride.filter(...).drop(...)`.
fn branch(branch: &BranchDef) -> String {
    let operators = branch.operators.iter().map(|operator| format!(".{operator}"));
    branch.input.clone() + &operators.collect::<String>()
}

/// `driver: str (key)`, `tip: float | None`.
pub(super) fn field(field: &Field) -> String {
    let optional = if field.optional { " | None" } else { "" };
    let role = match field.role {
        Role::Key => " (key)",
        Role::Timestamp => " (timestamp)",
        Role::Value => "",
    };
    let default = field.default.as_ref().map(|d| format!(" = {d}")).unwrap_or_default();
    format!("{}: {}{optional}{role}{default}", field.name, field.data_type)
}

impl OperatorDef {
    /// The builder method's name.
    pub const fn name(&self) -> &'static str {
        match self {
            OperatorDef::Filter { .. } => "filter",
            OperatorDef::Assign { .. } => "assign",
            OperatorDef::Join(_) => "join",
            OperatorDef::Dedup(_) => "dedup",
            OperatorDef::Union(_) => "union",
            OperatorDef::Select(_) => "select",
            OperatorDef::Drop(_) => "drop",
            OperatorDef::Rename(_) => "rename",
            OperatorDef::Rows(_) => "rows",
            OperatorDef::Groupby { .. } => "groupby",
            OperatorDef::Aggregate { .. } => "aggregate",
        }
    }
}

impl fmt::Display for OperatorDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OperatorDef::Filter { expr } => write!(f, "filter({expr})"),
            OperatorDef::Assign { columns } => {
                write!(f, "assign({})", list(columns.iter().map(|c| format!("{}={}", c.name, c.expr))))
            }
            OperatorDef::Join(join) => write!(f, "{join}"),
            OperatorDef::Dedup(dedup) => write!(f, "{dedup}"),
            OperatorDef::Union(union) => write!(f, "union({})", list(union.others.iter().map(branch))),
            OperatorDef::Select(select) => write!(f, "select({})", quoted(&select.columns)),
            OperatorDef::Drop(drop) => write!(f, "drop({})", quoted(&drop.columns)),
            OperatorDef::Rename(rename) => {
                let renamed = rename.columns.iter().map(|c| format!("{:?}: {:?}", c.from, c.name));
                write!(f, "rename({{{}}})", list(renamed))
            }
            OperatorDef::Rows(rows) => write!(f, "rows({})", list(rows.fields.iter().map(field))),
            OperatorDef::Groupby { keys } => write!(f, "groupby({})", quoted(keys)),
            OperatorDef::Aggregate { aggregates } => {
                write!(f, "aggregate({})", list(aggregates.iter().map(|a| format!("{}={a}", a.name))))
            }
        }
    }
}

impl fmt::Display for DedupDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dedup(by=[{}]", quoted(&self.by))?;
        match &self.within {
            Some(within) => write!(f, ", within=\"{within}\")"),
            None => write!(f, ")"),
        }
    }
}

impl fmt::Display for JoinDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "join({}, ", self.dataset)?;
        if self.left_on == self.right_on {
            write!(f, "on=[{}]", quoted(&self.left_on))?;
        } else {
            write!(f, "left_on=[{}], right_on=[{}]", quoted(&self.left_on), quoted(&self.right_on))?;
        }
        let fields = self.fields.iter().map(|joined| match joined.name == joined.field {
            true => format!("{:?}", joined.field),
            false => format!("{:?} as {:?}", joined.field, joined.name),
        });
        write!(f, ", fields=[{}]", list(fields))?;
        if self.how == How::Inner {
            write!(f, ", how=\"inner\"")?;
        }
        match &self.within {
            Some(within) => write!(f, ", within=\"{within}\")"),
            None => write!(f, ")"),
        }
    }
}

impl fmt::Display for AggregateDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in self.function.split('_') {
            let mut chars = word.chars();
            let first = chars.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
            write!(f, "{first}{}", chars.as_str())?;
        }
        let of = self.of.iter().map(|of| format!("of={of:?}"));
        let window = self.window.iter().map(|window| format!("window={window}"));
        let predicate = self.predicate.iter().map(|predicate| format!("where={predicate}"));
        let default = self.default.iter().map(|default| format!("default={default}"));
        let more = self.parameters.iter().map(|(name, value)| format!("{name}={value}"));
        let arguments: Vec<String> = of.chain(more).chain(window).chain(predicate).chain(default).collect();
        write!(f, "({})", arguments.join(", "))
    }
}
