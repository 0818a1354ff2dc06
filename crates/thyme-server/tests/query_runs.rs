//! What was asked and what was done can be looked up, and computed again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "sockets and their servers take threads and time")]

mod support;

use serde_json::{Value as Json, json};
use support::{Answer, Server};

/// The id of the run that an answer names.
fn run_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.head.lines().find_map(|line| line.strip_prefix("x-query-run-id: ")).unwrap().to_owned()
}

fn run(server: &Server, key: &str, id: &str) -> Json {
    server.ok("GET", &format!("/api/v1/query-runs/{id}"), key, &Json::Null)
}

fn replay(server: &Server, key: &str, id: &str) -> Json {
    server.ok("POST", &format!("/api/v1/query-runs/{id}/replay"), key, &json!({}))
}

fn list(server: &Server, key: &str, filter: &str) -> Vec<String> {
    let found = server.ok("GET", &format!("/api/v1/query-runs?{filter}"), key, &Json::Null);
    let runs = found["query_runs"].as_array().unwrap();
    runs.iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

fn push(server: &Server, key: &str, entity: &str, x: i64) -> String {
    let events = json!([{"k": entity, "x": x, "at": 1_700_000_100}]);
    let pushed = server.ok("POST", "/api/v1/log", key, &json!({"dataset": "Event", "events": events}));
    pushed["position"].as_str().unwrap().to_owned()
}

/// A query by each way.
fn queries(server: &Server, key: &str) -> Vec<String> {
    let labels = json!([{"entity_id": "a", "timestamp": 1_700_000_000}, {"entity_id": "b", "timestamp": 1_700_000_005, "inputs": {"hour": 3}}]);
    let several = json!([
        {"featureset": "Counts", "entity_ids": ["a"], "features": ["n"]},
        {"featureset": "Sums", "entity_ids": ["b", "nobody"], "inputs": {"hour": 1}}]);
    [
        server.get("/features?featureset=Sums&entity_id=a", key),
        server.get("/features?featureset=Sums&entity_id=a&timestamp=2023-11-14T22:13:20Z", key),
        server.ask(
            "POST",
            "/features",
            key,
            &json!({"featureset": "Sums", "entity_id": "a", "inputs": {"hour": 23}}),
        ),
        server.ask(
            "POST",
            "/features/batch",
            key,
            &json!({"featureset": "Counts", "entity_ids": ["a", "b"], "features": [2, 3]}),
        ),
        server.ask("POST", "/features/multi", key, &json!({"queries": several})),
        server.ask("POST", "/features/offline", key, &json!({"featureset": "Sums", "queries": labels})),
    ]
    .iter()
    .map(run_of)
    .collect()
}

#[test]
fn every_query_leaves_a_run_that_gives_the_same_bits_after_more_events_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(dir.path()));
    server.fill("");
    let ids = queries(&server, "");
    let first = run(&server, "", &ids[2]);
    assert_eq!((&first["endpoint"], &first["caller"]), (&json!("POST /features"), &json!("anonymous")));
    let part = &first["queries"][0];
    assert_eq!(
        (&part["featureset"], &part["mode"], &part["rows"]),
        (&json!("Sums"), &json!("online"), &json!(1))
    );
    assert_eq!((&part["entities"], &part["values"]), (&json!(["a"]), &json!([["a", 3, 23]])));
    assert_eq!((&part["features"], &part["ids"]), (&json!(["k", "s", "hour"]), &json!([1, 2, 3])));
    assert_eq!(part["inputs"], json!({"hour": [23]}));
    assert_eq!(run(&server, "", &ids[4])["queries"].as_array().unwrap().len(), 2);
    let labels = run(&server, "", &ids[5]);
    assert_eq!(labels["queries"][0]["times"], json!(["2023-11-14T22:13:20Z", "2023-11-14T22:13:25Z"]));
    assert_eq!(labels["queries"][0]["mode"], "point_in_time");
    // What is refused leaves none.
    assert_eq!(server.get("/features?featureset=Sums&entity_id=a&timestamp=never", "").status, 400);
    let position = push(&server, "", "a", 100);
    let now = server.get(&format!("/features?featureset=Sums&entity_id=a&min_position={position}"), "");
    assert_eq!(now.body["features"]["s"], 103);
    let last = run_of(&now);
    let all: Vec<String> = ids.iter().chain([&last]).rev().cloned().collect();
    assert_eq!(list(&server, "", ""), all);
    drop(server);
    let server = Server::start(Some(dir.path()));
    assert_eq!(list(&server, "", ""), all);
    assert_eq!(run(&server, "", &ids[2]), first);
    for id in &all {
        let replayed = replay(&server, "", id);
        assert_eq!(replayed["identical"], true, "{replayed}");
        assert!(
            replayed["queries"].as_array().unwrap().iter().all(|q| q["prevented"].is_null()),
            "{replayed}"
        );
    }
    let next = run_of(&server.get("/features?featureset=Counts&entity_id=b", ""));
    assert!(!all.contains(&next), "an id is given once");
    for nothing in ["q1", "nowhere", "Q2", "q"] {
        let answer = server.get(&format!("/query-runs/{nothing}"), "");
        assert_eq!(
            (answer.status, answer.detail().contains("there is no query run")),
            (404, true),
            "{nothing}"
        );
    }
}

#[test]
fn runs_are_found_by_what_they_were_about_page_by_page() {
    let server = Server::start(None);
    server.fill("");
    let (admin, id) = server.key("", &json!({"role": "admin"}));
    let (narrow, _) = server.key(&admin, &json!({"role": "read", "featuresets": ["Counts"]}));
    let ids = queries(&server, &admin);
    let own = run_of(&server.get("/features?featureset=Counts&entity_id=b", &narrow));
    assert_eq!(list(&server, &admin, "featureset=Counts"), [own.as_str(), &ids[4], &ids[3]]);
    assert_eq!(list(&server, &admin, "entity_id=nobody"), [ids[4].as_str()]);
    assert_eq!(list(&server, &admin, &format!("caller={id}")).len(), ids.len());
    assert_eq!(list(&server, &admin, &format!("caller=key%20{id}&entity_id=a&featureset=Sums")).len(), 5);
    assert_eq!(list(&server, &admin, "until=2020-01-01").len(), 0);
    assert_eq!(list(&server, &admin, "since=2020-01-01").len(), ids.len() + 1);
    assert_eq!(list(&server, &admin, "since=2999-01-01").len(), 0);
    let (mut paged, mut next) = (Vec::new(), String::new());
    loop {
        let page = server.ok("GET", &format!("/api/v1/query-runs?limit=2{next}"), &admin, &Json::Null);
        paged.extend(
            page["query_runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(id) => next = format!("&before={id}"),
            None => break,
        }
    }
    assert_eq!(paged, list(&server, &admin, ""));
    // A key that is for some featuresets sees what was asked of these alone.
    assert_eq!(list(&server, &narrow, ""), [own.as_str(), &ids[3]]);
    assert_eq!(server.get(&format!("/api/v1/query-runs/{}", ids[0]), &narrow).status, 403);
    assert_eq!(
        server.ask("POST", &format!("/query-runs/{}/replay", ids[4]), &narrow, &json!({})).status,
        403
    );
    assert_eq!(replay(&server, &narrow, &own)["identical"], true);
}

#[test]
fn a_replay_says_what_prevents_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(dir.path()));
    server.fill("");
    push(&server, "", "to be forgotten", 7);
    let position = push(&server, "", "c", 8);
    let batch =
        json!({"featureset": "Sums", "entity_ids": ["to be forgotten", "c"], "min_position": position});
    let erased = run_of(&server.ask("POST", "/features/batch", "", &batch));
    let kept = run_of(&server.get("/features?featureset=Sums&entity_id=c", ""));
    let many: Vec<String> = (0..200).map(|i| format!("e{i}")).collect();
    let large = run_of(&server.ask(
        "POST",
        "/features/batch",
        "",
        &json!({"featureset": "Sums", "entity_ids": many}),
    ));
    assert_eq!(run(&server, "", &erased)["queries"][0]["values"][0], json!(["to be forgotten", 7, 12]));
    assert!(run(&server, "", &large)["queries"][0]["sha256"].is_string());
    let reason = |id: &str| replay(&server, "", id)["queries"][0]["prevented"]["reason"].clone();
    assert_eq!(reason(&large), "too_large");
    server.ok("POST", "/api/v1/erase", "", &json!({"dataset": "Event", "entity_ids": ["to be forgotten"]}));
    let shown = run(&server, "", &erased);
    assert!(!shown.to_string().contains("forgotten"), "{shown}");
    assert_eq!(
        (&shown["queries"][0]["erased"], &shown["queries"][0]["values"][1]),
        (&json!(1), &json!(["c", 8, 12]))
    );
    assert_eq!(
        (reason(&erased), list(&server, "", "entity_id=to%20be%20forgotten").len()),
        (json!("erasure"), 0)
    );
    let again = replay(&server, "", &kept);
    assert_eq!(again["identical"], true, "others are as they were: {again}");
    let document = json!({"format": 1, "featuresets": [{"name": "Sums", "features": [
        {"id": 1, "name": "k", "type": "str"}, {"id": 3, "name": "hour", "type": "int", "request": true, "default": 12},
        {"id": 4, "name": "n", "type": "int", "ref": {"dataset": "Stats", "field": "n"}}]}]});
    let ended = server.ask("POST", "/api/v1/commit", "", &document);
    assert_eq!(ended.status, 200, "{}", ended.body);
    let gone = replay(&server, "", &kept);
    assert_eq!(
        (&gone["identical"], &gone["queries"][0]["prevented"]["reason"]),
        (&json!(false), &json!("commit")),
        "{gone}"
    );
}

#[test]
fn what_callers_did_is_told_with_who_it_was_and_outlasts_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(dir.path()));
    let (admin, id) = server.key("", &json!({"role": "admin", "name": "ops"}));
    server.fill(&admin);
    let (_, other) = server.key(&admin, &json!({"role": "read", "featuresets": ["Counts"]}));
    server.ok("POST", "/api/v1/keys/revoke", &admin, &json!({"id": other}));
    let commit = server.ok("GET", "/api/v1/history", &admin, &Json::Null)["commits"][0]["commit"].clone();
    let more = json!({"format": 1, "featuresets": [{"name": "More", "features": [
        {"id": 1, "name": "k", "type": "str"},
        {"id": 2, "name": "n", "type": "int", "ref": {"dataset": "Stats", "field": "n"}}]}]});
    server.ok("POST", "/api/v1/commit?message=the%20end", &admin, &more);
    server.ok("POST", "/api/v1/rollback", &admin, &json!({"commit": commit}));
    server.ok("POST", "/api/v1/erase", &admin, &json!({"dataset": "Event", "entity_ids": ["a", "whoever"]}));
    let told = |server: &Server, filter: &str| {
        let answer = server.ok("GET", &format!("/api/v1/events?{filter}"), &admin, &Json::Null);
        answer["events"].as_array().unwrap().clone()
    };
    let by = told(&server, &format!("by=key%20{id}"));
    let kinds: Vec<&str> = by.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["erasure", "rollback", "commit", "key_revoked", "key_created", "commit"]);
    assert!(!json!(by).to_string().contains("whoever"), "{by:?}");
    assert!(by[0]["message"].as_str().unwrap().starts_with("2 entities up to "), "{}", by[0]);
    assert!(by[2]["message"].as_str().unwrap().ends_with("; message: the end"), "{}", by[2]);
    assert!(by[4]["message"].as_str().unwrap().contains("with the role read, for Counts"), "{}", by[4]);
    assert_eq!(
        (&by[3]["subject"], &by[3]["by"]),
        (&json!(format!("key {other}")), &json!(format!("key {id}")))
    );
    let first = told(&server, "event_type=key_created");
    assert_eq!((&first[1]["by"], first.len()), (&json!("anonymous"), 2));
    assert!(told(&server, "limit=1000").iter().any(|event| event["by"].is_null()), "the engine's own");
    drop(server);
    let server = Server::start(Some(dir.path()));
    assert_eq!(told(&server, &format!("by=key%20{id}")), by);
}

#[test]
fn a_damaged_block_of_query_runs_is_named_once_and_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(dir.path()));
    server.fill("");
    let asked = |server: &Server| run_of(&server.get("/features?featureset=Sums&entity_id=a", ""));
    let first = asked(&server);
    // What is listed has been written, so these are three blocks.
    assert_eq!(list(&server, "", ""), [first.as_str()]);
    let second = asked(&server);
    assert_eq!(list(&server, "", "").len(), 2);
    let third = asked(&server);
    assert_eq!(list(&server, "", "").len(), 3);
    drop(server);
    let mut segments = std::fs::read_dir(dir.path().join("query-runs")).unwrap();
    let path = segments.next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let found = thyme_server::examine(dir.path(), false, i64::MAX, &|_, _| {}).unwrap();
    let found = found.findings.iter().find(|finding| finding.part == "runs").unwrap();
    assert!(found.what.contains("is damaged in the block at byte 12"), "{found:?}");
    let server = Server::start(Some(dir.path()));
    for _ in 0..2 {
        assert_eq!(list(&server, "", ""), [third.as_str(), &second]);
        let events = server.ok("GET", "/api/v1/events?event_type=trail_damaged", "", &Json::Null);
        let events = events["events"].as_array().unwrap();
        assert!(events.len() == 1 && events[0]["subject"] == "query-runs", "{events:?}");
    }
    let answer = server.get(&format!("/query-runs/{first}"), "");
    assert_eq!((answer.status, &answer.body["error"]), (500, &json!("corrupt")));
    assert_eq!(list(&server, "", "").len(), 2);
    let (admin, _) = server.key("", &json!({"role": "admin"}));
    assert_eq!(list(&server, &admin, "").len(), 2);
}

#[test]
fn a_lookup_leaves_a_run_that_gives_the_same_row_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(dir.path()));
    server.fill("");
    let (admin, _) = server.key("", &json!({"role": "admin"}));
    let (narrow, _) = server.key(&admin, &json!({"role": "read", "featuresets": ["Counts"]}));
    let look = |query: &str| run_of(&server.get(&format!("/features?{query}"), &admin));
    let raw = look("entity_type=Event&entity_id=a");
    let derived = look("entity_type=Stats&k=b&timestamp=2023-11-14T22:13:30Z");
    let missing = look("entity_type=Event&entity_id=nobody");
    let zeros = look("entity_type=Stats&entity_id=nobody&missing=values");
    let shown = run(&server, &admin, &raw);
    let part = &shown["queries"][0];
    assert_eq!((&part["dataset"], &part["featureset"]), (&json!("Event"), &Json::Null));
    assert_eq!((&part["entities"], &part["mode"]), (&json!(["a"]), &json!("online")));
    assert_eq!(
        (&part["features"], &part["values"]),
        (&json!(["k", "x", "at"]), &json!([["a", 2, "2023-11-14T22:13:21Z"]]))
    );
    let part = run(&server, &admin, &derived)["queries"][0].clone();
    assert_eq!((&part["features"], &part["values"]), (&json!(["n", "s"]), &json!([[1, 5]])));
    assert_eq!((&part["mode"], &part["missing"]), (&json!("point_in_time"), &Json::Null));
    assert_eq!(run(&server, &admin, &missing)["queries"][0]["missing"], true);
    let all = [&zeros, &missing, &derived, &raw].map(String::as_str);
    assert_eq!(list(&server, &admin, ""), all);
    assert_eq!(list(&server, &admin, "dataset=Event"), [missing.as_str(), &raw]);
    assert_eq!(list(&server, &admin, "featureset=Event"), [""; 0]);
    assert_eq!(list(&server, &admin, "entity_id=nobody"), [zeros.as_str(), &missing]);
    // Who may not look up may not see what others looked up either.
    assert_eq!(list(&server, &narrow, ""), [""; 0]);
    assert_eq!(server.get(&format!("/query-runs/{raw}"), &narrow).status, 403);
    push(&server, &admin, "nobody", 9);
    let position = push(&server, &admin, "a", 100);
    server.ok("GET", &format!("/features/scan?dataset=Stats&min_position={position}"), &admin, &Json::Null);
    for id in all {
        let again = replay(&server, &admin, id);
        assert_eq!(
            (&again["identical"], &again["queries"][0]["prevented"]),
            (&json!(true), &Json::Null),
            "{again}"
        );
    }
    server.ok("POST", "/api/v1/erase", &admin, &json!({"dataset": "Event", "entity_ids": ["a"]}));
    let shown = run(&server, &admin, &raw);
    assert_eq!(
        (&shown["queries"][0]["entities"], &shown["queries"][0]["values"]),
        (&json!([null]), &json!([null]))
    );
    assert_eq!(replay(&server, &admin, &raw)["queries"][0]["prevented"]["reason"], "erasure");
    assert_eq!(replay(&server, &admin, &derived)["identical"], true);
}
