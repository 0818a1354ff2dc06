//! Features asked for by id and by names that they had before: who still does, and the end of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use thyme_core::{Error, Position, Result};
use thyme_engine::{Engine, Kept, Planned};
use thyme_query::{Plan, Wanted};

use crate::actions;
use crate::app::Ready;
use crate::commits;
use crate::exposition::{Exposition, Kind};
use crate::json;
use crate::request::{Reply, Request};
use crate::runs::counted_as;

/// The name under which the engine keeps the counts, and the form that they have.
const KEPT: &str = "old names";
const FORMAT: u32 = 1;

/// How often old names were asked for, by featureset and name.
#[derive(Debug, Default)]
pub(crate) struct OldNames {
    counts: Mutex<BTreeMap<(String, String), Asks>>,
    /// Whether somebody asked since they were written last.
    changed: AtomicBool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Asks {
    /// By this name.
    asked: u64,
    /// For all features, which have it among them.
    included: u64,
    /// Who asked by this name.
    callers: BTreeMap<String, u64>,
}

impl OldNames {
    /// Those that were kept when the engine was closed, which keeps them from here on. What another Thyme kept in
    /// a form of its own is not known.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn kept_in(engine: &Engine) -> Result<Arc<OldNames>> {
        let names = Arc::new(OldNames::default());
        let before = engine.keep(KEPT, names.clone())?;
        let before: Option<KeptNames> = before.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(before) = before.filter(|before| before.format == FORMAT) {
            names.counts.lock().extend(before.names.into_iter().map(|(set, name, asks)| ((set, name), asks)));
        }
        Ok(names)
    }

    /// Counts a read by `plan` whose caller gives these inputs.
    pub fn note<'n>(&self, request: &Request, plan: &Plan, inputs: impl Iterator<Item = &'n str>) {
        let given: Vec<&str> =
            inputs.filter(|name| plan.request(name).is_some_and(|request| request.name != **name)).collect();
        if given.is_empty() && plan.renamed().next().is_none() {
            return;
        }
        let caller = request.caller.fingerprint();
        let mut counts = self.counts.lock();
        self.changed.store(true, Ordering::Release);
        let key = |name: &str| (plan.name.clone(), name.to_owned());
        for (column, _) in plan.renamed() {
            let asks = counts.entry(key(&column.name)).or_default();
            match plan.selected {
                true => asks.ask(&caller),
                false => asks.included += 1,
            }
        }
        given.into_iter().for_each(|name| counts.entry(key(name)).or_default().ask(&caller));
    }

    /// Counts that somebody asked for this one.
    pub fn note_one(&self, request: &Request, featureset: &str, name: &str) {
        let key = (featureset.to_owned(), name.to_owned());
        let mut counts = self.counts.lock();
        self.changed.store(true, Ordering::Release);
        counts.entry(key).or_default().ask(&request.caller.fingerprint());
    }

    fn of(&self, featureset: &str, name: &str) -> Asks {
        self.counts.lock().get(&(featureset.to_owned(), name.to_owned())).cloned().unwrap_or_default()
    }
}

/// The counts as they are kept.
#[derive(Serialize, Deserialize)]
struct KeptNames {
    format: u32,
    names: Vec<(String, String, Asks)>,
}

impl Kept for OldNames {
    fn changed(&self) -> Option<Vec<u8>> {
        if !self.changed.swap(false, Ordering::AcqRel) {
            return None;
        }
        let all = self.counts.lock().clone().into_iter();
        let names = all.map(|((set, name), asks)| (set, name, asks)).collect();
        serde_json::to_vec(&KeptNames { format: FORMAT, names }).ok()
    }

    fn was_not_written(&self) {
        self.changed.store(true, Ordering::Release);
    }
}

impl Asks {
    fn ask(&mut self, caller: &str) {
        self.asked += 1;
        let caller = counted_as(&self.callers, caller).to_owned();
        *self.callers.entry(caller).or_default() += 1;
    }
}

/// `"features": [3, "rides"]` of a body; `None` is all of them.
pub(crate) fn wanted(given: Option<&Json>) -> Result<Option<Vec<Wanted>>> {
    let wrong = |json: &Json| {
        Error::invalid_data(format!(
            "features: expected a list of ids and names, such as [3, \"rides_1h\"], got {}",
            json::shown(json)
        ))
    };
    match given {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Array(items)) => {
            let one = |item: &Json| match item {
                Json::Number(id) => id
                    .as_u64()
                    .and_then(|id| u32::try_from(id).ok())
                    .map(Wanted::Id)
                    .ok_or_else(|| wrong(item)),
                Json::String(text) => Wanted::parse(text),
                other => Err(wrong(other)),
            };
            items.iter().map(one).collect::<Result<_>>().map(Some)
        }
        Some(other) => Err(wrong(other)),
    }
}

/// `features=3,rides` of a query string.
pub(crate) fn wanted_param(request: &Request) -> Result<Option<Vec<Wanted>>> {
    match request.param("features") {
        None => Ok(None),
        Some(_) => {
            request.list("features").iter().map(|text| Wanted::parse(text)).collect::<Result<_>>().map(Some)
        }
    }
}

/// What an answer says of the names in it: old ones, and the ids of what was selected; and of the values, if that was
/// asked for. `None` is nothing.
pub(crate) fn meta(plan: &Plan, features: Option<Json>) -> Option<Json> {
    let old: Map<String, Json> = plan
        .renamed()
        .map(|(column, now)| {
            (column.name.clone(), json!({"id": column.id, "name": now, "status": "renamed"}))
        })
        .collect();
    let mut meta = Map::new();
    if plan.selected {
        let ids: Map<String, Json> =
            plan.features.iter().map(|column| (column.name.clone(), column.id.into())).collect();
        meta.insert("ids".into(), ids.into());
    }
    if !old.is_empty() {
        meta.insert("deprecated".into(), old.into());
    }
    meta.extend(features.map(|features| ("features".to_owned(), features)));
    (!meta.is_empty()).then(|| meta.into())
}

/// The old names that still answer, for the status.
pub(crate) fn status(ready: &Ready) -> Json {
    let catalog = ready.engine().catalog();
    let names =
        catalog.document.featuresets.iter().flat_map(|set| {
            set.former_names().map(move |(name, feature)| (set.name.as_str(), name, feature))
        });
    names
        .map(|(featureset, name, feature)| {
            let asks = ready.old_names.of(featureset, name);
            json!({
                "featureset": featureset, "name": name, "id": feature.id, "now": feature.name,
                "asked": asks.asked, "included": asks.included, "callers": asks.callers,
            })
        })
        .collect()
}

/// The metrics of old names: only names that are committed become a label.
pub(crate) fn expose(ready: &Ready, out: &mut Exposition) {
    let catalog = ready.engine().catalog();
    let name = "thyme_old_name_asks_total";
    let mut family =
        out.family(name, Kind::Counter, "Reads that asked for a feature by a name that it had before.");
    for set in &catalog.document.featuresets {
        for (old, _) in set.former_names() {
            let asks = ready.old_names.of(&set.name, old);
            family.sample(&[("featureset", &set.name), ("name", old)], asks.asked);
        }
    }
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a JSON object with reference, such as {\"reference\": \"Drivers.rides\"}"
)]
pub(crate) struct RetireBody {
    reference: String,
}

/// `POST /api/v1/retire`.
pub(crate) fn retire(ready: &Ready, request: &Request) -> Result<Reply> {
    if let Some(refused) = commits::refuse_other_than_json(request, "a retirement") {
        return Ok(refused);
    }
    let body: RetireBody = crate::reads::parse(request)?;
    if body.reference.contains('@') {
        let (plan, id, position) = ready.engine().retire_version(&body.reference, commits::note(request)?)?;
        actions::committed(ready, request, "retirement", &id, &plan);
        return Ok(retired(&plan, &id, position));
    }
    let named = body.reference.split_once('.').filter(|(set, name)| !set.is_empty() && !name.is_empty());
    let Some((featureset, name)) = named else {
        return Err(Error::invalid_data(format!(
            "reference: expected FEATURESET.OLD_NAME or DATASET@VERSION, such as Drivers.rides or Stats@1, got \"{}\"",
            body.reference
        )));
    };
    let (plan, id, position) = ready.engine().retire_name(featureset, name, commits::note(request)?)?;
    actions::committed(ready, request, "retirement", &id, &plan);
    Ok(retired(&plan, &id, position))
}

fn retired(plan: &Planned, id: &str, position: Position) -> Reply {
    let changes = commits::changes(&plan.changes);
    Reply::json(200, &json!({"commit": id, "changes": changes, "position": position.to_string()}))
}
