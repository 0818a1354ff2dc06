//! Erased entities in query runs: neither their keys nor what was answered about them stays.

use serde_json::{Map, Value as Json};
use thyme_core::Value;

use super::text::{Kept, KeptPart};
use crate::json;

/// How long a query may be on its way to its run.
const ON_THEIR_WAY_US: i64 = 600_000_000;

/// An entity, as runs have it: the texts of its values.
#[derive(Debug)]
struct Gone {
    values: Vec<Json>,
    since_us: i64,
}

/// Who is to be left out of runs that are still on their way.
#[derive(Debug, Default)]
pub(crate) struct Guard(Vec<Gone>);

impl Guard {
    pub fn add(&mut self, entities: &[Vec<Value>], now_us: i64) {
        let plain = |value: &Value| json::to_json("", value, &mut Map::new());
        let gone =
            entities.iter().map(|key| Gone { values: key.iter().map(plain).collect(), since_us: now_us });
        self.0.extend(gone);
    }

    /// A run that is written now, without those who were erased lately.
    pub fn screened(&mut self, run: Kept, now_us: i64) -> Kept {
        self.0.retain(|gone| now_us.saturating_sub(gone.since_us) < ON_THEIR_WAY_US);
        if self.0.is_empty() {
            return run;
        }
        self.screen(run.clone()).unwrap_or(run)
    }

    /// Whether a record may have one of them in it.
    pub fn erased_in(&self, record: &str) -> bool {
        self.0.iter().any(|gone| gone.values.iter().all(|value| record.contains(&value.to_string())))
    }

    /// The run without them; `None` if they are not in it.
    pub fn screen(&self, mut run: Kept) -> Option<Kept> {
        let changed = run.queries.iter_mut().map(|part| self.screen_part(part)).sum::<u64>();
        (changed > 0).then_some(run)
    }

    /// Any key with these values is taken for theirs: which datasets a featureset read then is not asked, and to
    /// forget too much of an audit does less harm than to keep too much.
    fn screen_part(&self, part: &mut KeptPart) -> u64 {
        let rows: Vec<usize> = part
            .entities
            .iter()
            .flatten()
            .enumerate()
            .filter(|(_, entity)| self.0.iter().any(|gone| gone.is(entity)))
            .map(|(row, _)| row)
            .collect();
        let mut changed = rows.len() as u64;
        for row in &rows {
            let lists = part.inputs.values_mut().filter_map(Json::as_array_mut);
            let lists = lists.chain(part.entities.as_mut()).chain(part.values.as_mut());
            lists.filter_map(|list| list.get_mut(*row)).for_each(|cell| *cell = Json::Null);
        }
        // A request feature may be somebody's key, too.
        for cell in part.inputs.values_mut().filter_map(Json::as_array_mut).flatten() {
            if self.0.iter().any(|gone| gone.is(cell)) {
                (*cell, changed) = (Json::Null, changed + 1);
            }
        }
        if changed > 0 {
            part.erased += changed;
            // What it was made of could be guessed and tried.
            part.sha256 = None;
        }
        changed
    }
}

impl Gone {
    fn is(&self, entity: &Json) -> bool {
        match (entity, self.values.as_slice()) {
            // An entity of several datasets has more fields than the key of one.
            (Json::Object(fields), values) if !values.is_empty() => {
                values.iter().all(|value| fields.values().any(|field| field == value))
            }
            (plain, [value]) => plain == value,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_entity_is_found_under_more_fields_than_its_own_key_has_and_nobody_else_is() {
        let mut guard = Guard::default();
        guard.add(&[vec![Value::Str("anna".into()), Value::Int(7)]], 0);
        guard.add(&[vec![Value::Str("bert".into())]], 0);
        let is = |entity: Json| guard.0.iter().any(|gone| gone.is(&entity));
        for theirs in [
            json!({"user": "anna", "device": 7}),
            // A featureset over several datasets has the keys of all of them.
            json!({"user": "anna", "device": 7, "shop": "s1"}),
            json!({"shop": "s1", "device": 7, "who": "anna"}),
            json!("bert"),
            json!({"user": "bert", "shop": "s1"}),
        ] {
            assert!(is(theirs.clone()), "{theirs}");
        }
        for others in [
            json!({"user": "anna", "device": 8}),
            json!({"user": "annabel", "device": 7}),
            json!({"user": "anna"}),
            json!("anna"),
            json!(7),
            json!("7"),
            json!({"user": "anna", "device": "7"}),
            json!({"user": "bertha"}),
            json!({}),
            Json::Null,
        ] {
            assert!(!is(others.clone()), "{others}");
        }
    }
}
