//! Dedup: whether what makes a row a repetition are columns that can say so.

use super::{Check, names};
use crate::definition::dedup::DedupDef;
use crate::definition::validate::Faults;
use crate::definition::validate::scope::Columns;

impl Check<'_> {
    /// Whether a dedup is by columns whose values can be told apart; false if what follows cannot be checked.
    pub(super) fn dedup(&self, dedup: &DedupDef, columns: &Columns, faults: &mut Faults) -> bool {
        let before = faults.list.len();
        let subject = &self.subject;
        if dedup.by.is_empty() {
            let message = format!(
                "{subject} dedups by no column; name those in which a row repeats another one, as .dedup(by=[\"id\"])"
            );
            faults.add(self.place, subject, "column names", "none", message);
        }
        let given = dedup.by.iter().map(|name| (name.as_str(), self.place));
        names::check_unique("dedup columns", subject, given, faults);
        for name in &dedup.by {
            match columns.data_type(name) {
                None => self.unknown_column("dedups by", name, columns, subject, self.place, faults),
                Some(given) if !given.is_key() => {
                    let message = format!(
                        "{subject} dedups by {name}, of type {given}: expected int, str, bool, datetime or date; .assign a column of one of these that says the same, and dedup by that"
                    );
                    let expected = "int, str, bool, datetime or date";
                    faults.add(self.place, subject, expected, given.name(), message);
                }
                Some(_) => {}
            }
        }
        faults.list.len() == before
    }
}
