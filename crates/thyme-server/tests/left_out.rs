//! What was left out is listed, with why, and dead letters become rows exactly once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use thyme_query::NoExtractors;
use thyme_server::{App, AppOptions, Request};
use thyme_testing::random::Random;

const TEN: i64 = 1_773_568_800;

fn open(path: Option<&Path>) -> App {
    let app = App::opening();
    let options = AppOptions { path: path.map(Path::to_owned), shards: 2, ..AppOptions::default() };
    app.open(options, Arc::new(NoExtractors)).unwrap();
    app
}

fn ask(app: &App, method: &str, target: &str, body: &Json) -> (u16, Json) {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let reply = app.request(&Request::new(method, target, headers, body.to_string().into()));
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

fn get(app: &App, target: &str) -> Json {
    let (status, answer) = ask(app, "GET", target, &Json::Null);
    assert_eq!(status, 200, "{target}: {answer}");
    answer
}

fn post(app: &App, target: &str, body: &Json) -> Json {
    let (status, answer) = ask(app, "POST", target, body);
    assert_eq!(status, 200, "{target}: {answer}");
    answer
}

fn ride(more: &Json) -> Json {
    let mut ride = json!({"name": "Ride", "index": true, "fields": [
        {"name": "k", "type": "str", "role": "key"},
        {"name": "x", "type": "float"},
        {"name": "at", "type": "datetime", "role": "timestamp"},
    ]});
    ride.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ride
}

fn commit(app: &App, more: &Json) {
    let other = json!({"name": "Other", "fields": [
        {"name": "k", "type": "str", "role": "key"}, {"name": "at", "type": "datetime", "role": "timestamp"},
    ]});
    post(app, "/api/v1/commit", &json!({"format": 1, "datasets": [ride(more), other], "featuresets": []}));
}

fn push(app: &App, dataset: &str, events: &[Json]) -> Json {
    post(app, "/api/v1/log", &json!({"dataset": dataset, "events": events}))
}

/// Waits until everything that was pushed is applied.
fn settle(app: &App, answer: &Json) {
    let position = answer["position"].as_str().unwrap();
    get(app, &format!("/features?entity_type=Ride&entity_id=k&min_position={position}"));
}

fn pages(app: &App, target: &str, list: &str) -> Vec<Json> {
    let (mut all, mut before) = (Vec::new(), String::new());
    loop {
        let page = get(app, &format!("{target}{before}"));
        all.extend(page[list].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return all,
        }
    }
}

#[test]
fn late_events_are_those_of_the_naive_rule_newest_first_in_pages_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(11);
    let mut app = open(Some(dir.path()));
    let (mut expected, mut mark) = (Vec::new(), i64::MIN);
    let (mut last, mut number) = (Json::Null, 0);
    for round in 0..60i64 {
        // The limits change on the way; before that nothing is late.
        let lateness = [None, Some(30), Some(5), Some(60)][(round / 15) as usize];
        if round % 15 == 0 {
            commit(&app, &lateness.map_or(json!({}), |s| json!({"max_lateness": format!("{s}s")})));
        }
        if round == 40 {
            app.close();
            app = open(Some(dir.path()));
        }
        push(&app, "Other", &[json!({"k": "o", "at": TEN + 1_000_000})]);
        let times: Vec<i64> =
            (0..random.below(8)).map(|_| TEN + round * 4 - random.below(60) as i64).collect();
        let events: Vec<Json> = times.iter().map(|at| json!({"k": "k", "x": 1.5, "at": at})).collect();
        for at in times {
            if lateness.is_some_and(|limit| mark > i64::MIN && at < mark - limit) {
                expected.push((at, mark, mark - lateness.unwrap() - at));
            }
            mark = mark.max(at);
            number += 1;
        }
        last = push(&app, "Ride", &events);
    }
    expected.reverse();
    assert!(expected.len() > 30 && number > expected.len(), "{}", expected.len());
    settle(&app, &last);
    for target in ["/api/v1/late?dataset=Ride&limit=7", "/api/v1/late?dataset=Ride&limit=100000"] {
        let late = pages(&app, target, "late");
        let told: Vec<(i64, i64, i64)> = late.iter().map(told).collect();
        assert_eq!(told, expected, "{target}");
        assert_eq!(late[0]["fields"]["x"], 1.5);
        assert_eq!(late[0]["stream"], "push");
    }
    let page = get(&app, "/api/v1/late?dataset=Ride&limit=1");
    assert_eq!(page["count"], expected.len());
    assert_eq!(get(&app, "/api/v1/late?dataset=Other")["late"], json!([]));
    assert_eq!(get(&app, "/api/v1/late?dataset=Ride&since=2999-01-01")["late"], json!([]));
    let arrived = page["late"][0]["arrived"].as_str().unwrap();
    assert!(
        !get(&app, &format!("/api/v1/late?dataset=Ride&since={arrived}"))["late"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    app.close();
    let app = open(Some(dir.path()));
    assert_eq!(pages(&app, "/api/v1/late?dataset=Ride&limit=13", "late").len(), expected.len());
    app.close();
}

/// An event's time, its watermark, and by how much it was late, in seconds.
fn told(event: &Json) -> (i64, i64, i64) {
    let time =
        |name: &str| thyme_core::time::parse_timestamp(event[name].as_str().unwrap()).unwrap().0 / 1_000_000;
    (time("time"), time("watermark"), event["late_by_s"].as_f64().unwrap() as i64)
}

#[test]
fn dead_letters_become_rows_once_when_the_definition_lets_them() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(Some(dir.path()));
    let skip = json!({"on_error": "skip"});
    commit(&app, &skip);
    let (good, extra) =
        (json!({"k": "k", "x": 1.0, "at": TEN}), json!({"k": "k", "x": 2.0, "at": TEN, "y": 1}));
    let hopeless = json!({"k": "k", "x": "many", "at": TEN});
    push(&app, "Ride", &[good.clone(), extra.clone(), hopeless.clone()]);
    let long = json!({"k": "k", "x": 3.0, "at": TEN, "z": "z".repeat(70_000)});
    let last = push(&app, "Ride", &[extra.clone(), long, extra]);
    settle(&app, &last);
    let letters = get(&app, "/api/v1/dead-letters?dataset=Ride");
    assert_eq!((&letters["count"], &letters["waiting"]), (&json!(5), &json!(5)));
    assert_eq!(
        pages(&app, "/api/v1/dead-letters?dataset=Ride&limit=2", "dead_letters"),
        *letters["dead_letters"].as_array().unwrap()
    );
    let cut: Vec<bool> =
        letters["dead_letters"].as_array().unwrap().iter().map(|l| l["cut"].as_bool().unwrap()).collect();
    assert_eq!(cut, [false, true, false, false, false], "newest first");

    let replay = |app: &App| post(app, "/api/v1/dead-letters/replay", &json!({"dataset": "Ride"}));
    let nothing = replay(&app);
    assert_eq!(
        (&nothing["replayed"], &nothing["failed"], &nothing["cut"]),
        (&json!(0), &json!(5), &json!(1))
    );
    commit(&app, &json!({"on_error": "skip", "extra": "ignore"}));
    let some = replay(&app);
    assert_eq!((&some["replayed"], &some["failed"], &some["cut"]), (&json!(3), &json!(2), &json!(1)));
    assert!(some["reasons"].to_string().contains("bytes are kept"), "{some}");
    assert!(some["reasons"].to_string().contains("expected float"), "{some}");
    let events = |app: &App| get(app, "/api/v1/status")["datasets"][1]["events"].clone();
    assert_eq!(events(&app), 4);
    let told = get(&app, "/api/v1/events?event_type=dead_letters_replayed")["events"][0].clone();
    assert_eq!((&told["subject"], &told["by"]), (&json!("Ride"), &json!("anonymous")));
    assert!(told["message"].as_str().unwrap().starts_with("3 became events"), "{told}");
    // Again, and after restarts with and without a checkpoint: nothing becomes a row twice.
    assert_eq!(replay(&app)["replayed"], 0);
    app.close();
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    for _ in 0..2 {
        let app = open(Some(dir.path()));
        assert_eq!((replay(&app)["replayed"].clone(), events(&app)), (json!(0), json!(4)));
        let left = get(&app, "/api/v1/dead-letters?dataset=Ride");
        assert_eq!((&left["replayed"], &left["waiting"]), (&json!(3), &json!(2)));
        assert_eq!(left["dead_letters"].as_array().unwrap().len(), 2);
        assert_eq!(
            get(&app, "/api/v1/dead-letters?dataset=Ride&all=1")["dead_letters"].as_array().unwrap().len(),
            5
        );
        app.close();
    }
    let app = open(Some(dir.path()));
    let last = push(&app, "Ride", &[hopeless, good, json!({"k": "k", "x": 5.0})]);
    settle(&app, &last);
    let fresh = replay(&app);
    assert_eq!((&fresh["replayed"], &fresh["failed"]), (&json!(0), &json!(4)));
    app.close();
}

#[test]
fn letters_of_files_are_read_again_in_their_own_format() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.csv"), "k,x,at,y\nk,1.5,1773568800,1\nk,2.5,1773568801\n").unwrap();
    let app = open(None);
    let path = dir.path().join("*.csv").display().to_string();
    let source =
        |fields: &str| json!({"source": {"kind": "file", "options": {"path": path}}, "extra": fields});
    let wait = |app: &App, more: &Json| {
        let document = json!({"format": 1, "datasets": [ride(more)], "featuresets": []});
        post(app, "/api/v1/commit?wait_sources=1", &document);
    };
    wait(&app, &source("ignore"));
    let letters = get(&app, "/api/v1/dead-letters?dataset=Ride");
    assert_eq!(
        (letters["waiting"].as_u64(), letters["dead_letters"][0]["raw"].as_str()),
        (Some(1), Some("k,2.5,1773568801"))
    );
    let replay = |app: &App| post(app, "/api/v1/dead-letters/replay", &json!({"dataset": "Ride"}));
    assert_eq!(replay(&app)["reasons"][0]["reason"], "the record has 3 fields, the header has 4");
    // The header is what was wrong: the file is written anew, which makes it a new file whose record is read.
    std::fs::write(dir.path().join("a.csv"), "k,x,at\nk,2.5,1773568801\n").unwrap();
    wait(&app, &source("ignore"));
    assert_eq!(replay(&app)["replayed"], 1);
    assert_eq!(replay(&app)["replayed"], 0);
    let row = get(&app, "/features?entity_type=Ride&entity_id=k");
    assert_eq!(row["features"]["x"], 2.5);
    app.close();
}

#[test]
fn a_parameter_that_nothing_reads_is_refused() {
    let app = open(None);
    commit(&app, &json!({}));
    for target in [
        "/api/v1/late?dataset=Ride&limti=3",
        "/api/v1/late?dataset=Ride&limit=0",
        "/api/v1/late",
        "/api/v1/dead-letters?dataset=Ride&before=x",
    ] {
        assert_eq!(ask(&app, "GET", target, &Json::Null).0, 400, "{target}");
    }
    assert_eq!(ask(&app, "GET", "/api/v1/late?dataset=Ridse", &Json::Null).0, 404);
    app.close();
}

fn erase(app: &App, key: &str) -> Json {
    post(app, "/api/v1/erase", &json!({"dataset": "Ride", "entity_ids": [key]}))
}

/// Of a list, those that are not of the entity that goes.
fn without(list: &[Json], key: &str) -> Vec<Json> {
    list.iter().filter(|entry| entry["fields"]["k"] != key).cloned().collect()
}

#[test]
fn late_events_of_others_are_listed_as_before_an_erasure() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(5);
    let app = open(Some(dir.path()));
    commit(&app, &json!({"max_lateness": "10s"}));
    let mut last = Json::Null;
    for round in 0..40i64 {
        let events = (0..6 + random.below(6)).map(|_| {
            let k = ["k", "gone", "other"][random.below(3)];
            json!({"k": k, "x": 1.5, "at": TEN + round * 4 - random.below(40) as i64})
        });
        last = push(&app, "Ride", &events.collect::<Vec<_>>());
    }
    settle(&app, &last);
    let all = |app: &App| pages(app, "/api/v1/late?dataset=Ride&limit=7", "late");
    let before = all(&app);
    let mut expected = without(&before, "gone");
    assert!(expected.len() > 30 && before.len() > expected.len() + 15, "{}", expected.len());
    erase(&app, "gone");
    assert_eq!(all(&app), expected);
    assert_eq!(get(&app, "/api/v1/late?dataset=Ride")["count"], expected.len());
    // A second one meets records that were written anew.
    erase(&app, "other");
    expected = without(&expected, "other");
    assert!(!expected.is_empty());
    assert_eq!(all(&app), expected);
    app.close();
    for _ in 0..2 {
        // From the checkpoint, then from the log alone.
        let app = open(Some(dir.path()));
        assert_eq!(all(&app), expected);
        assert_eq!(get(&app, "/api/v1/late?dataset=Ride")["count"], expected.len());
        app.close();
        std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    }
    let app = open(Some(dir.path()));
    // What follows is held against the same watermark.
    settle(&app, &push(&app, "Ride", &[json!({"k": "k", "x": 1.5, "at": TEN - 100})]));
    let late = all(&app);
    assert_eq!(late.len(), expected.len() + 1);
    assert_eq!(late[0]["watermark"], before[0]["watermark"]);
    app.close();
}

#[test]
fn letters_of_others_keep_their_places_and_become_rows_once_when_an_entity_is_erased() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(Some(dir.path()));
    commit(&app, &json!({"on_error": "skip"}));
    let extra = |k: &str| json!({"k": k, "x": 2.0, "at": TEN, "y": 1});
    let hopeless = |k: &str| json!({"k": k, "x": "many", "at": TEN});
    push(&app, "Ride", &[extra("erase-me"), extra("a"), hopeless("b"), hopeless("erase-me"), extra("c")]);
    commit(&app, &json!({"on_error": "skip", "extra": "ignore"}));
    let replay = |app: &App| post(app, "/api/v1/dead-letters/replay", &json!({"dataset": "Ride"}));
    assert_eq!(replay(&app)["replayed"], 3);
    settle(&app, &push(&app, "Ride", &[hopeless("erase-me")]));
    let places = |app: &App| -> Vec<(String, u64, bool)> {
        let letters = get(app, "/api/v1/dead-letters?dataset=Ride&all=1")["dead_letters"].clone();
        let letters = letters.as_array().unwrap().iter();
        let of = |l: &Json| {
            let key: Json = serde_json::from_str(l["raw"].as_str().unwrap()).unwrap();
            let key = key["k"].as_str().unwrap().to_owned();
            (key, l["index"].as_u64().unwrap(), l["replayed"].as_bool().unwrap())
        };
        letters.map(of).filter(|(key, _, _)| key != "erase-me").collect()
    };
    let before = places(&app);
    let expected = [("c", 4, true), ("b", 2, false), ("a", 1, true)];
    assert_eq!(before, expected.map(|(key, index, is)| (key.to_owned(), index, is)));
    let receipt = erase(&app, "erase-me");
    assert_eq!((&receipt["events"], &receipt["dead_letters"]), (&json!(1), &json!(3)));
    let events = |app: &App| get(app, "/api/v1/status")["datasets"][1]["events"].clone();
    let check = |app: &App| {
        assert_eq!(places(app), before);
        let letters = get(app, "/api/v1/dead-letters?dataset=Ride&all=1");
        assert_eq!(
            [&letters["count"], &letters["replayed"], &letters["waiting"]],
            [&json!(3), &json!(2), &json!(1)]
        );
        assert_eq!(letters["dead_letters"].as_array().unwrap().len(), 3);
        let again = replay(app);
        assert_eq!((&again["replayed"], &again["failed"]), (&json!(0), &json!(1)));
        assert_eq!(again["reasons"][0]["index"], 2);
        assert_eq!(events(app), 2);
    };
    check(&app);
    app.close();
    for _ in 0..2 {
        let app = open(Some(dir.path()));
        check(&app);
        app.close();
        std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    }
}
