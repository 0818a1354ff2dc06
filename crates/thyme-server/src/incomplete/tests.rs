use super::*;
use thyme_query::NoExtractors;

use crate::app::{App, AppOptions};

fn ask(app: &App, method: &str, target: &str, body: &Json) -> Reply {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    app.request(&Request::new(method, target, headers, body.to_string().into()))
}

fn get(app: &App, target: &str) -> Json {
    let reply = ask(app, "GET", target, &Json::Null);
    let body: Json = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(reply.status, 200, "{target}: {body}");
    body
}

fn post(app: &App, target: &str, body: &Json) -> (u16, Json) {
    let reply = ask(app, "POST", target, body);
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
}

fn derived(name: &str, output: &str, function: &str, of: Option<&str>) -> Json {
    let mut aggregate = json!({"name": output, "function": function});
    aggregate["of"] = of.map_or(Json::Null, Json::from);
    let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
    json!({
        "name": name,
        "fields": [field("k", "str", "key"), field("at", "datetime", "timestamp"), field(output, "int", "value")],
        "pipelines": [{"name": "p", "inputs": ["Event"], "operators": [
            {"op": "groupby", "keys": ["k"]}, {"op": "aggregate", "aggregates": [aggregate]}]}],
    })
}

fn document(is_more: bool) -> Json {
    let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
    let event = json!({"name": "Event", "fields": [
        field("k", "str", "key"), field("x", "int", "value"), field("at", "datetime", "timestamp")]});
    let feature = |id: u32, name: &str, dataset: &str| json!({"id": id, "name": name, "type": "int", "ref": {"dataset": dataset, "field": name}});
    let entity = json!({"id": 1, "name": "k", "type": "str"});
    let mut datasets = vec![event, derived("Counts", "c", "count", None)];
    let mut features = vec![entity.clone(), feature(2, "c", "Counts")];
    let mut sets = Vec::new();
    if is_more {
        datasets.push(derived("Sums", "s", "sum", Some("x")));
        features.push(feature(3, "s", "Sums"));
        sets.push(json!({"name": "G", "features": [entity, feature(2, "s", "Sums")]}));
    }
    sets.insert(0, json!({"name": "F", "features": features}));
    json!({"format": 1, "datasets": datasets, "featuresets": sets})
}

fn filling() -> (App, String, String) {
    let app = App::opening();
    app.open(AppOptions::default(), Arc::new(NoExtractors)).unwrap();
    let (status, first) = post(&app, "/api/v1/commit", &document(false));
    assert_eq!(status, 200, "{first}");
    let events: Vec<Json> =
        [2, 3].iter().map(|x| json!({"k": "a", "x": x, "at": 1_700_000_000 + x})).collect();
    let (status, pushed) = post(&app, "/api/v1/log", &json!({"dataset": "Event", "events": events}));
    assert_eq!(status, 200, "{pushed}");
    app.ready_now().unwrap().engine().hold_backfills_for_test(true);
    let position = pushed["position"].as_str().unwrap();
    get(&app, &format!("/features?featureset=F&entity_id=a&min_position={position}"));
    let (status, begun) = post(&app, "/api/v1/commit?wait=false", &document(true));
    assert_eq!((status, &begun["position"]), (202, &Json::Null), "{begun}");
    let text = |answer: &Json| answer["commit"].as_str().unwrap().to_owned();
    (app, text(&first), text(&begun))
}

#[test]
fn what_is_not_live_is_null_and_says_so_beside_what_is() {
    let (app, first, second) = filling();
    let all = get(&app, "/features?featureset=F&entity_id=a");
    assert_eq!(all["features"], json!({"k": "a", "c": 2, "s": null}));
    assert_eq!((&all["status"], &all["as_of"]["commit"]), (&json!("INCOMPLETE"), &json!(first)));
    let incomplete = &all["meta"]["incomplete"];
    assert_eq!(incomplete.as_object().unwrap().len(), 1);
    assert_eq!((&incomplete["s"]["commit"], &incomplete["s"]["progress"]), (&json!(second), &json!(0.0)));
    assert!(incomplete["s"]["since"].is_string());
    let one = get(&app, "/features?featureset=F&entity_id=a&features=3,c");
    assert_eq!((&one["features"], &one["meta"]["ids"]["s"]), (&json!({"s": null, "c": 2}), &json!(3)));
    assert_eq!(get(&app, "/features?featureset=F&entity_id=a&features=s")["features"], json!({"s": null}));
    let untouched = get(&app, "/features?featureset=F&entity_id=a&features=c");
    assert_eq!((&untouched["features"], &untouched["status"]), (&json!({"c": 2}), &Json::Null));
    assert_eq!(get(&app, "/features?featureset=G&entity_id=a")["features"], json!({"k": null, "s": null}));
    let row = get(&app, "/features?entity_type=Sums&entity_id=a");
    assert_eq!((&row["features"], row["meta"]["incomplete"]["Sums"].is_object()), (&Json::Null, true));
    let body = json!({"featureset": "F", "entity_ids": ["a", "b"], "features": ["s", "c"]});
    let (status, batch) = post(&app, "/features/batch", &body);
    assert_eq!((status, &batch["features"]), (200, &json!(["s", "c"])), "{batch}");
    assert_eq!((&batch["values"], &batch["status"]), (&json!([[null, 2], [null, 0]]), &json!("INCOMPLETE")));
    assert_eq!(ask(&app, "GET", "/features?featureset=F&entity_id=a&features=zz", &Json::Null).status, 404);
    assert_eq!(ask(&app, "GET", "/features?featureset=H&entity_id=a", &Json::Null).status, 404);
}

#[test]
fn an_explanation_of_what_is_not_live_says_that_it_is_pending() {
    let (app, _, second) = filling();
    let told = |what: &str| {
        let reply = ask(&app, "GET", &format!("/api/v1/explain?{what}&entity_id=a"), &Json::Null);
        let body: Json = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply.status, 404, "{what}: {body}");
        body["detail"].as_str().unwrap().to_owned()
    };
    let new = [
        "featureset=G&feature=s",
        "featureset=F&feature=s",
        "featureset=F&feature=3",
        "dataset=Sums&field=s",
    ];
    for what in new {
        let detail = told(what);
        assert!(detail.contains("it is not live yet") && detail.contains(&second), "{what}: {detail}");
    }
    let nowhere = ["featureset=F&feature=zz", "featureset=H&feature=s", "dataset=Counts&field=zz"];
    for what in nowhere {
        assert!(!told(what).contains("not live yet"), "{what}");
    }
    // What is live is not, whatever else is wrong.
    assert!(!told("featureset=F&feature=c&inputs=%7B%22hour%22%3A1%7D").contains("not live yet"));
}

#[test]
fn a_batch_in_arrow_has_null_columns_in_their_places() {
    let (app, ..) = filling();
    for (featureset, features, names) in
        [("F", json!(["s", "c"]), vec!["entity_id", "s", "c"]), ("G", json!(["s"]), vec!["entity_id", "s"])]
    {
        let body = json!({"featureset": featureset, "entity_ids": ["a", "b"], "features": features});
        let headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("accept".to_owned(), ARROW_STREAM.to_owned()),
        ];
        let reply = app.request(&Request::new("POST", "/features/batch", headers, body.to_string().into()));
        assert_eq!(reply.status, 200);
        let batch = arrow_io::join(&arrow_io::read_stream(&reply.body).unwrap()).unwrap();
        let schema = batch.schema();
        assert_eq!(schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), names);
        assert_eq!(batch.column(1).null_count(), 2);
        assert_eq!(schema.metadata()["status"], "\"INCOMPLETE\"");
        let meta: Json = serde_json::from_str(&schema.metadata()["meta"]).unwrap();
        assert_eq!(meta["incomplete"]["s"]["progress"], json!(0.0));
    }
}

#[test]
fn training_sets_are_refused_and_all_of_it_is_there_once_it_is_live() {
    let (app, _, second) = filling();
    let queries = json!([{"entity_id": "a", "timestamp": 1_700_000_009}]);
    let mut body = json!({"featureset": "F", "queries": queries, "features": ["c", "s"]});
    let reply = ask(&app, "POST", "/features/offline", &body);
    let error: Json = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(reply.status, 503, "{error}");
    assert!(reply.headers.iter().any(|(name, _)| *name == "retry-after"));
    let detail = error["detail"].as_str().unwrap();
    assert!(detail.starts_with("s: not live yet") && detail.contains(&second), "{detail}");
    body.as_object_mut().unwrap().remove("features");
    let (status, all) = post(&app, "/features/offline", &body);
    assert_eq!((status, &all["results"][0]["features"]), (200, &json!({"k": "a", "c": 2})), "{all}");
    assert_eq!(ask(&app, "GET", "/features/scan?dataset=Sums", &Json::Null).status, 503);
    let other = json!({"format": 1, "datasets": [derived("Largest", "m", "max", Some("x"))]});
    let (status, refused) = post(&app, "/api/v1/commit", &other);
    assert_eq!((status, refused["detail"].as_str().unwrap().contains(&second)), (409, true), "{refused}");
    assert_eq!(get(&app, "/api/v1/status")["backfill"]["commit"], json!(second));
    app.ready_now().unwrap().engine().hold_backfills_for_test(false);
    // The same again waits for the one that is pending.
    let (status, live) = post(&app, "/api/v1/commit", &document(true));
    assert_eq!((status, &live["commit"]), (200, &json!(second)), "{live}");
    let all = get(&app, "/features?featureset=F&entity_id=a");
    assert_eq!((&all["features"], &all["status"]), (&json!({"k": "a", "c": 2, "s": 5}), &Json::Null));
    assert_eq!(get(&app, "/features?featureset=G&entity_id=a")["features"], json!({"k": "a", "s": 5}));
    assert_eq!(get(&app, "/api/v1/status")["backfill"], Json::Null);
}

#[test]
fn a_cancelled_commit_leaves_no_trace_in_answers() {
    let (app, first, second) = filling();
    let (status, _) = post(&app, "/api/v1/commit/cancel", &json!({"commit": first}));
    assert_eq!(status, 409);
    let (status, cancelled) = post(&app, "/api/v1/commit/cancel", &json!({}));
    assert_eq!((status, &cancelled["cancelled"]), (200, &json!(second)));
    let all = get(&app, "/features?featureset=F&entity_id=a");
    assert_eq!((&all["features"], &all["status"]), (&json!({"k": "a", "c": 2}), &Json::Null));
    assert_eq!(ask(&app, "GET", "/features?featureset=G&entity_id=a", &Json::Null).status, 404);
    assert_eq!(post(&app, "/api/v1/commit/cancel", &json!({})).0, 404);
}

#[test]
fn what_is_known_of_values_says_which_are_not_live() {
    let (app, ..) = filling();
    let all = get(&app, "/features?featureset=F&entity_id=a&meta=1");
    let features = &all["meta"]["features"];
    let nothing = json!({"status": "INCOMPLETE", "newest": null, "age_s": null, "version": null});
    assert_eq!((&features["s"], &features["c"]["status"]), (&nothing, &json!("OK")));
    assert_eq!(
        get(&app, "/features?featureset=G&entity_id=a&meta=1")["meta"]["features"]["s"]["status"],
        "INCOMPLETE"
    );
    let mut body = json!({"featureset": "F", "entity_ids": ["a", "b"], "features": ["s", "c"], "meta": true});
    let (_, batch) = post(&app, "/features/batch", &body);
    assert_eq!(batch["meta"]["features"]["s"]["status"], json!(["INCOMPLETE", "INCOMPLETE"]));
    assert_eq!(batch["meta"]["features"]["c"]["status"], json!(["OK", "MISSING"]));
    for (featureset, known) in [("F", true), ("G", false)] {
        body["featureset"] = featureset.into();
        body["features"] = if known { json!(["s", "c"]) } else { json!(["s"]) };
        let headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("accept".to_owned(), ARROW_STREAM.to_owned()),
        ];
        let reply = app.request(&Request::new("POST", "/features/batch", headers, body.to_string().into()));
        let batch = arrow_io::join(&arrow_io::read_stream(&reply.body).unwrap()).unwrap();
        let names: Vec<&str> = batch.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
        let of = |name: &str| ["status", "newest", "age_s", "error"].map(|part| format!("{name}.{part}"));
        let expected: Vec<String> = match known {
            true => {
                ["entity_id", "s", "c"].map(str::to_owned).into_iter().chain(of("c")).chain(of("s")).collect()
            }
            false => ["entity_id", "s"].map(str::to_owned).into_iter().chain(of("s")).collect(),
        };
        assert_eq!(names, expected);
        let meta: Json = serde_json::from_str(&batch.schema_ref().metadata()["meta"]).unwrap();
        assert_eq!(meta["features"]["s"], json!({"version": null}));
    }
}

#[test]
fn several_featuresets_at_once_have_nulls_where_something_is_not_live() {
    let (app, first, _) = filling();
    let queries = json!([
        {"featureset": "F", "entity_ids": ["a", "b"], "features": ["s", "c"]},
        {"featureset": "G", "entity_ids": ["a"]},
        {"featureset": "F", "entity_ids": ["a"], "features": ["c"]},
    ]);
    let (status, answer) = post(&app, "/features/multi", &json!({"queries": queries, "meta": true}));
    assert_eq!((status, &answer["as_of"]["commit"]), (200, &json!(first)), "{answer}");
    let [some, none, all] = [0, 1, 2].map(|query| &answer["results"][query]);
    assert_eq!((&some["values"], &some["status"]), (&json!([[null, 2], [null, 0]]), &json!("INCOMPLETE")));
    assert_eq!(some["meta"]["features"]["c"]["status"], json!(["OK", "MISSING"]));
    assert_eq!((&none["featureset"], &none["values"]), (&json!("G"), &json!([[null, null]])));
    assert_eq!((&all["values"], &all["status"], &all["as_of"]), (&json!([[2]]), &Json::Null, &Json::Null));
    let (status, refused) = post(
        &app,
        "/features/multi",
        &json!({"queries": [{"featureset": "F", "entity_ids": ["a"], "features": ["zz"]}]}),
    );
    assert!(status == 404 && refused["detail"].as_str().unwrap().starts_with("queries[0]: "), "{refused}");
}
