//! API keys over HTTP: who may do what, from the first key to the revocation of the last.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "sockets and their servers take threads and time")]

#[path = "support/slow.rs"]
mod slow;
mod support;

use serde_json::{Value as Json, json};
use support::Server;
use thyme_server::routes::ROUTES;
use thyme_server::{AppOptions, OfflineKeys, ServeOptions, any_key};

/// Every endpoint and the roles beside admin that may use it. A new one has to say here who may.
const WHO_MAY: &[(&str, &str, &[&str])] = &[
    ("GET", "/features", &["read", "commit"]),
    ("POST", "/features", &["read", "commit"]),
    ("POST", "/features/batch", &["read", "commit"]),
    ("POST", "/features/multi", &["read", "commit"]),
    ("POST", "/api/v1/features/multi", &["read", "commit"]),
    ("POST", "/features/offline", &["read", "commit"]),
    ("GET", "/features/scan", &["read", "commit"]),
    ("POST", "/api/v1/commit", &["commit"]),
    ("POST", "/api/v1/commit/cancel", &["commit"]),
    ("POST", "/api/v1/plan", &["commit"]),
    ("POST", "/api/v1/rollback", &["commit"]),
    ("GET", "/api/v1/history", &["read", "commit"]),
    ("GET", "/api/v1/diff", &["read", "commit"]),
    ("POST", "/api/v1/retire", &["commit"]),
    ("POST", "/api/v1/log", &["write"]),
    ("POST", "/api/v1/backup", &[]),
    ("POST", "/api/v1/erase", &[]),
    ("GET", "/api/v1/status", &["read", "write", "commit"]),
    ("GET", "/api/v1/jobs", &["read", "write", "commit"]),
    ("POST", "/api/v1/jobs/offline", &["read", "commit"]),
    ("GET", "/api/v1/jobs/offline", &["read", "commit"]),
    ("POST", "/api/v1/jobs/offline/part", &["read", "commit"]),
    ("GET", "/api/v1/jobs/offline/result", &["read", "commit"]),
    ("POST", "/api/v1/jobs/offline/cancel", &["read", "commit"]),
    ("GET", "/api/v1/events", &["read", "commit"]),
    ("GET", "/api/v1/late", &["read", "commit"]),
    ("GET", "/api/v1/duplicates", &["read", "commit"]),
    ("GET", "/api/v1/dead-letters", &["read", "commit"]),
    ("POST", "/api/v1/dead-letters/replay", &["write"]),
    ("GET", "/api/v1/featuresets", &["read", "write", "commit"]),
    ("POST", "/api/v1/verify", &["read", "commit"]),
    ("GET", "/api/v1/explain", &["read", "commit"]),
    ("GET", "/api/v1/rows", &["read", "commit"]),
    ("GET", "/api/v1/entities", &["read", "commit"]),
    ("GET", "/api/v1/query-runs", &["read", "commit"]),
    ("GET", "/api/v1/query-runs/{id}", &["read", "commit"]),
    ("POST", "/api/v1/query-runs/{id}/replay", &["read", "commit"]),
    ("GET", "/query-runs", &["read", "commit"]),
    ("GET", "/query-runs/{id}", &["read", "commit"]),
    ("POST", "/query-runs/{id}/replay", &["read", "commit"]),
    ("GET", "/api/v1/keys", &[]),
    ("POST", "/api/v1/keys", &[]),
    ("POST", "/api/v1/keys/revoke", &[]),
    ("GET", "/openapi.json", &["read", "write", "commit"]),
];

#[test]
fn each_role_may_use_its_endpoints_and_no_other() {
    let server = Server::start(None);
    server.fill("");
    let (admin, _) = server.key("", &json!({"role": "admin"}));
    let keys = ["read", "write", "commit"].map(|role| (role, server.key(&admin, &json!({"role": role})).0));
    for route in ROUTES {
        let (method, path) = (route.method, route.path);
        let (_, _, roles) = WHO_MAY.iter().find(|(m, p, _)| (*m, *p) == (method, path)).unwrap();
        // The second is the same endpoint, spelt otherwise.
        let path = &path.replace("{id}", "q1");
        let spelt = path.replacen("s", "%73", 1);
        for target in [path.as_str(), &spelt] {
            let nobody = server.ask(method, target, "", &json!({}));
            assert_eq!(nobody.status, 401, "{method} {target}: {}", nobody.body);
            assert!(nobody.head.contains("www-authenticate: Bearer"), "{}", nobody.head);
            assert_eq!(nobody.body["error"], "unauthorized");
            for (role, key) in &keys {
                let answer = server.ask(method, target, key, &json!({}));
                let may = roles.contains(role);
                assert_eq!(answer.status != 403, may, "{role} {method} {target}: {}", answer.body);
                assert_ne!(answer.status, 401, "{role} {method} {target}");
                if !may {
                    assert_eq!(answer.body["error"], "forbidden");
                    assert!(
                        answer
                            .detail()
                            .contains(&format!("has the role {role}, and {method} {} needs", route.path)),
                        "{}",
                        answer.body
                    );
                }
            }
            let answer = server.ask(method, target, &admin, &json!({}));
            assert!(![401, 403].contains(&answer.status), "admin {method} {target}: {}", answer.body);
        }
    }
    for (method, path, _) in WHO_MAY {
        assert!(ROUTES.iter().any(|r| (r.method, r.path) == (*method, *path)), "{method} {path} is no more");
    }
    for open in ["/health", "/metrics"] {
        assert_eq!(server.get(open, "").status, 200, "{open}");
    }
    for (key, status) in [("", 401), (admin.as_str(), 404)] {
        assert_eq!(server.get("/nowhere", key).status, status);
    }
}

#[test]
fn a_key_for_some_featuresets_finds_no_way_to_others() {
    let server = Server::start(None);
    server.fill("");
    let (admin, _) = server.key("", &json!({"role": "admin"}));
    let (key, id) = server.key(&admin, &json!({"role": "read", "featuresets": ["Counts"]}));
    let both = |set: &str, feature: &str| -> Vec<(&str, String, Json)> {
        let label = json!({"entity_id": "a", "timestamp": 1_700_000_005});
        vec![
            ("GET", format!("/features?featureset={set}&entity_id=a"), Json::Null),
            ("POST", "/features".into(), json!({"featureset": set, "entity_id": "a"})),
            ("POST", "/features/batch".into(), json!({"featureset": set, "entity_ids": ["a"]})),
            ("POST", "/features/offline".into(), json!({"featureset": set, "queries": [label]})),
            (
                "POST",
                "/features/multi".into(),
                json!({"queries": [
                {"featureset": "Counts", "entity_ids": ["a"]}, {"featureset": set, "entity_ids": ["a"]}]}),
            ),
            ("GET", format!("/api/v1/explain?featureset={set}&feature={feature}&entity_id=a"), Json::Null),
            ("POST", "/api/v1/verify".into(), json!({"reference": set})),
            ("GET", format!("/api/v1/entities?featureset={set}"), Json::Null),
        ]
    };
    for (method, target, body) in both("Counts", "n") {
        server.ok(method, &target, &key, &body);
    }
    for (method, target, body) in both("Sums", "s") {
        server.ok(method, &target, &admin, &body);
        let answer = server.ask(method, &target, &key, &body);
        assert_eq!(answer.status, 403, "{method} {target}: {}", answer.body);
        let said = format!("the API key {id} may not read Sums: it is for Counts");
        assert!(answer.detail().contains(&said), "{}", answer.body);
    }
    let beyond = [
        ("GET", "/features?entity_type=Event&entity_id=a"),
        ("GET", "/features?entity_type=Stats&entity_id=a"),
        ("GET", "/features/scan?dataset=Stats"),
        ("GET", "/api/v1/rows?dataset=Event"),
        ("GET", "/api/v1/explain?dataset=Stats&field=s&entity_id=a"),
        ("GET", "/api/v1/late?dataset=Event"),
        ("GET", "/api/v1/duplicates?dataset=Event"),
        ("GET", "/api/v1/dead-letters?dataset=Event"),
        ("GET", "/api/v1/history"),
        ("GET", "/api/v1/events"),
        ("POST", "/api/v1/verify"),
    ];
    for (method, target) in beyond {
        assert_ne!(server.ask(method, target, &admin, &Json::Null).status, 403, "{target}");
        let answer = server.ask(method, target, &key, &Json::Null);
        assert_eq!(answer.status, 403, "{method} {target}: {}", answer.body);
        assert!(answer.detail().contains("it is for the featuresets Counts"), "{}", answer.body);
    }
    let columns = "featureset=Sums&timestamp_column=at&entity_column=k";
    let headers =
        format!("authorization: Bearer {key}\r\ncontent-type: application/vnd.apache.arrow.stream\r\n");
    // Whatever the body is: nothing of another featureset is looked at.
    let answer = server.send("POST", &format!("/features/offline?{columns}"), &headers, &labels());
    assert_eq!((answer.status, answer.detail().contains("may not read Sums")), (403, true), "{answer:?}");
    let unknown =
        server.ask("POST", "/api/v1/keys", &admin, &json!({"role": "read", "featuresets": ["Count"]}));
    assert_eq!((unknown.status, unknown.detail().contains("Counts")), (404, true), "{}", unknown.body);
}

/// A frame of one label.
fn labels() -> Vec<u8> {
    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use std::sync::Arc;
    let k: arrow::array::ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let at: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![1_700_000_005]));
    let batch = RecordBatch::try_from_iter([("k", k), ("at", at)]).unwrap();
    let mut out = Vec::new();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut out, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    out
}

#[test]
fn the_first_key_is_an_admin_and_from_then_on_everybody_needs_one() {
    let server = Server::start(None);
    assert_eq!(server.get("/api/v1/status", "").status, 200);
    let early = server.ask("POST", "/api/v1/keys", "", &json!({"role": "read"}));
    assert_eq!((early.status, early.detail().contains("make the first with the role admin")), (409, true));
    assert_eq!(server.get("/api/v1/status", "").status, 200, "nothing was made");
    let page = server.send("POST", "/api/v1/keys", "content-type: text/plain\r\n", br#"{"role": "admin"}"#);
    assert_eq!(page.status, 415, "a page in a browser makes none");
    let (admin, id) = server.key("", &json!({"role": "admin", "name": "ops"}));
    assert_eq!(server.get("/api/v1/status", "").status, 401);
    assert_eq!(server.get("/api/v1/status", &admin).status, 200);
    let wrong = format!("{}0", &admin[..admin.len() - 1]);
    for other in [id.as_str(), &admin[15..], &wrong[..], "thyme_00000000_00", "Bearer", "é"] {
        if other == admin {
            continue;
        }
        let answer = server.get("/api/v1/status", other);
        assert_eq!(answer.status, 401, "{other}");
        assert!(!answer.body.to_string().contains(other) || other.len() < 10, "{}", answer.body);
    }
    let last = server.ask("POST", "/api/v1/keys/revoke", &admin, &json!({"id": id}));
    assert_eq!((last.status, last.detail().contains("is the last with the role admin")), (409, true));
    let listed = server.ok("GET", "/api/v1/keys", &admin, &Json::Null);
    let (one, by) = (&listed["keys"][0], format!("key {id}"));
    assert_eq!(
        (&one["id"], &one["name"], &one["created_by"]),
        (&json!(id), &json!("ops"), &json!("anonymous"))
    );
    assert!(one["used"].is_string() && one["revoked"].is_null(), "{one}");
    let (second, other) = server.key(&admin, &json!({"role": ["read", "write"]}));
    assert_eq!(server.ok("GET", "/api/v1/keys", &admin, &Json::Null)["keys"][0]["created_by"], json!(by));
    assert_eq!(server.get("/api/v1/status", &second).status, 200);
    server.ok("POST", "/api/v1/keys/revoke", &admin, &json!({"id": other}));
    let gone = server.get("/api/v1/status", &second);
    assert_eq!(
        (gone.status, gone.detail().contains(&format!("the API key {other} was revoked at "))),
        (401, true)
    );
    let again = server.ask("POST", "/api/v1/keys/revoke", &admin, &json!({"id": other}));
    assert_eq!(again.status, 409);
    let unknown = server.ask("POST", "/api/v1/keys/revoke", &admin, &json!({"id": second}));
    assert_eq!((unknown.status, unknown.detail().contains(&second)), (404, false), "{}", unknown.body);
}

/// Every byte below a directory.
fn bytes_below(dir: &std::path::Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        all.extend(if path.is_dir() { bytes_below(&path) } else { std::fs::read(&path).unwrap() });
    }
    all
}

#[test]
fn keys_outlast_a_restart_and_a_restore_and_their_secrets_are_written_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backup, restored) =
        (dir.path().join("data"), dir.path().join("backup"), dir.path().join("restored"));
    let env = std::sync::Arc::new(thyme_core::SystemEnv);
    assert!(!any_key(&data).unwrap());
    assert!(OfflineKeys::existing(&data, env.clone()).is_err());
    let mut offline = OfflineKeys::open(&data, env.clone()).unwrap();
    let made = offline.create(r#"{"role": "admin", "name": "offline"}"#).unwrap();
    let admin = made["key"].as_str().unwrap().to_owned();
    drop(offline);
    assert!(any_key(&data).unwrap());
    let server = Server::start(Some(&data));
    assert_eq!(server.get("/api/v1/status", "").status, 401);
    server.fill(&admin);
    let (reader, id) = server.key(&admin, &json!({"role": "read", "rate": "100/s"}));
    let (gone, lost) = server.key(&admin, &json!({"role": "commit"}));
    server.ok("POST", "/api/v1/keys/revoke", &admin, &json!({"id": lost}));
    assert!(OfflineKeys::open(&data, env.clone()).is_err(), "the server has the directory");
    server.ok("POST", "/api/v1/backup", &admin, &json!({"directory": backup}));
    let told = [
        server.ok("GET", "/api/v1/status", &admin, &Json::Null),
        server.ok("GET", "/api/v1/events", &admin, &Json::Null),
        server.ok("GET", "/api/v1/keys", &admin, &Json::Null),
    ];
    drop(server);
    thyme_engine::maintenance::restore(&backup, &restored, &|_, _| {}).unwrap();
    let written = [bytes_below(&data), bytes_below(&backup), json!(told).to_string().into_bytes()].concat();
    for key in [&admin, &reader, &gone] {
        let secret = &key.as_bytes()[15..];
        assert!(!written.windows(secret.len()).any(|part| part == secret), "{key}");
    }
    for data in [&data, &restored] {
        let server = Server::start(Some(data));
        assert_eq!(server.get("/features?featureset=Sums&entity_id=a", &reader).body["features"]["s"], 3);
        assert_eq!(server.get("/api/v1/keys", &reader).status, 403);
        assert_eq!(
            (server.get("/api/v1/status", &gone).status, server.get("/api/v1/status", "").status),
            (401, 401)
        );
        drop(server);
        let mut offline = OfflineKeys::existing(data, env.clone()).unwrap();
        offline.revoke(&id).unwrap();
        offline.revoke(made["id"].as_str().unwrap()).unwrap();
        drop(offline);
        assert!(!any_key(data).unwrap());
        assert_eq!(Server::start(Some(data)).get("/api/v1/status", "").status, 200, "no key is left");
    }
    // A file that is not what was written lets nobody in.
    let file = data.join("log/access.keys");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let app = thyme_server::App::opening();
    let options = AppOptions { path: Some(data.clone()), ..AppOptions::default() };
    let refused = app.open(options, std::sync::Arc::new(thyme_query::NoExtractors)).unwrap_err();
    assert!(refused.detail().contains("access.keys is damaged"), "{refused}");
    let found = thyme_engine::maintenance::examine(&data, false, 0, &|_, _| {}).unwrap();
    assert!(found.findings.iter().any(|f| f.what.contains("access.keys is damaged")), "{found:?}");
}

#[test]
fn a_key_that_asks_too_often_is_told_when_to_come_back_and_nobody_else_is() {
    let server = Server::start(None);
    let (admin, _) = server.key("", &json!({"role": "admin"}));
    let (key, id) = server.key(&admin, &json!({"role": "read", "rate": "3/h"}));
    for _ in 0..3 {
        assert_eq!(server.get("/api/v1/status", &key).status, 200);
    }
    // Making another key forgets nothing of it.
    server.key(&admin, &json!({"role": "read"}));
    let answer = server.get("/api/v1/status", &key);
    assert_eq!((answer.status, &answer.body["error"]), (429, &json!("rate_limited")));
    assert!(answer.detail().contains(&format!("the API key {id} may ask 3/h")), "{}", answer.body);
    let after = answer.head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((1..=1200).contains(&after.parse::<u32>().unwrap()), "{after}");
    assert_eq!(server.get("/api/v1/status", &admin).status, 200);
}

#[test]
fn idempotency_keys_of_two_callers_are_two_keys() {
    let server = Server::start(None);
    server.fill("");
    let (admin, _) = server.key("", &json!({"role": "admin"}));
    let keys = [(); 2].map(|()| server.key(&admin, &json!({"role": "write"})).0);
    let body = json!({"dataset": "Event", "events": [{"k": "z", "x": 1, "at": 1_700_000_000}]}).to_string();
    let push = |key: &str| {
        let headers = format!(
            "content-type: application/json\r\nauthorization: Bearer {key}\r\nidempotency-key: same\r\n"
        );
        server.send("POST", "/api/v1/log", &headers, body.as_bytes()).body["position"].clone()
    };
    assert_eq!(push(&keys[0]), push(&keys[0]));
    assert_ne!(push(&keys[0]), push(&keys[1]));
    let last = push(&keys[1]);
    let read = format!("/features?featureset=Counts&entity_id=z&min_position={}", last.as_str().unwrap());
    assert_eq!(server.get(&read, &admin).body["features"]["n"], 2);
}

#[test]
fn beyond_this_machine_nothing_is_listened_on_without_a_key() {
    let listen = "0.0.0.0:0".parse().unwrap();
    let refused = ServeOptions { listen, ..ServeOptions::default() }.check().unwrap_err();
    assert!(refused.detail().contains("thyme keys create --role admin --data DIR"), "{refused}");
    ServeOptions { listen, is_keyed: true, ..ServeOptions::default() }.check().unwrap();
}

/// How many events there are, once this position is applied.
fn events(server: &Server, key: &str, position: &str) -> Json {
    server.ok("GET", &format!("/features/scan?dataset=Stats&min_position={position}"), key, &Json::Null);
    server.ok("GET", "/api/v1/status", key, &Json::Null)["datasets"][0]["events"].clone()
}

#[test]
fn a_key_that_is_revoked_while_its_request_is_on_its_way_opens_nothing() {
    let server = Server::start(None);
    server.fill("");
    let asked = json!({"featureset": "Sums", "entity_id": "a"});
    let event = json!({"dataset": "Event", "events": [{"k": "late", "x": 1, "at": 1_700_000_000}]});
    let requests = [("/features", "read", &asked), ("/api/v1/log", "write", &event)];
    let (mut admin, mut position) = (String::new(), String::new());
    // The first key of all ends what everybody may do, too.
    let first = slow::send_slowly(&server, ("POST", "/api/v1/log", ""), &event, || {
        admin = server.key("", &json!({"role": "admin"})).0;
    });
    assert_eq!(first.status, 401, "{}", first.body);
    for (path, role, body) in requests {
        let (key, id) = server.key(&admin, &json!({"role": role}));
        let nothing_happens = slow::send_slowly(&server, ("POST", path, &key), body, || {});
        assert_eq!(nothing_happens.status, 200, "{path}: {}", nothing_happens.body);
        position = nothing_happens.body["position"].as_str().unwrap_or_default().to_owned();
        let revoked = slow::send_slowly(&server, ("POST", path, &key), body, || {
            server.ok("POST", "/api/v1/keys/revoke", &admin, &json!({"id": id}));
        });
        assert_eq!((revoked.status, &revoked.body["error"]), (401, &json!("unauthorized")), "{path}");
        assert!(revoked.detail().contains("nothing was done"), "{}", revoked.body);
    }
    // Three before, and the one push that was let in.
    assert_eq!(events(&server, &admin, &position), 4);
}

#[test]
fn a_key_that_has_expired_opens_nothing_and_says_so() {
    let server = Server::start(None);
    let (admin, _) = server.key("", &json!({"role": "admin", "expires": "90d"}));
    let made = server.ok("POST", "/api/v1/keys", &admin, &json!({"role": "read", "expires": "1s"}));
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    let time = |text: &Json| thyme_core::time::parse_timestamp(text.as_str().unwrap()).unwrap().0;
    assert_eq!(time(&made["expires"]) - time(&made["created"]), 1_000_000);
    let expired = (0..1200).map(|_| server.get("/api/v1/status", key)).find(|answer| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        answer.status != 200
    });
    let expired = expired.unwrap();
    assert_eq!((expired.status, &expired.body["error"]), (401, &json!("unauthorized")));
    let said = format!("the API key {id} expired at {}", made["expires"].as_str().unwrap());
    assert!(expired.detail().starts_with(&said), "{}", expired.body);
    let listed = server.ok("GET", "/api/v1/keys", &admin, &Json::Null)["keys"].clone();
    assert_eq!((&listed[0]["id"], &listed[0]["expires"]), (&json!(id), &made["expires"]));
    assert!(listed[1]["expires"].is_string() && listed[0]["revoked"].is_null(), "{listed}");
    let wrong = server.ask("POST", "/api/v1/keys", &admin, &json!({"role": "read", "expires": "soon"}));
    assert_eq!((wrong.status, wrong.detail().contains("such as 12h or 90d")), (400, true), "{}", wrong.body);
    // That the last key has expired lets in nobody.
    let alone = Server::start(None);
    let (last, _) = alone.key("", &json!({"role": "admin", "expires": "1s"}));
    let is_closed = (0..1200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        alone.get("/api/v1/status", &last).status == 401
    });
    assert!(is_closed && alone.get("/api/v1/status", "").status == 401);
}

#[test]
fn without_a_key_no_page_of_another_site_is_answered() {
    let server = Server::start(None);
    server.fill("");
    // What a page may send without asking first: no type of its content, or a plain one.
    let event = br#"{"dataset": "Event", "events": [{"k": "evil", "x": 1, "at": 1700000000}]}"#;
    let push = |path: &str, origin: &str| server.send("POST", path, &format!("origin: {origin}\r\n"), event);
    let mut position = String::new();
    for path in ["/api/v1/log", "/api/v1/lo%67"] {
        for origin in ["https://evil.example", "null", "http://localhost.evil.example:8080"] {
            let refused = push(path, origin);
            assert_eq!((refused.status, refused.detail().contains(origin)), (403, true), "{}", refused.body);
        }
        let pushed = push(path, "http://localhost:3000");
        assert_eq!(pushed.status, 200, "{}", pushed.body);
        position = pushed.body["position"].as_str().unwrap().to_owned();
    }
    let (admin, _) = server.key("", &json!({"role": "admin"}));
    // Who has a key says with it who they are.
    let headers = format!("origin: https://dashboard.example\r\nauthorization: Bearer {admin}\r\n");
    assert_eq!(server.send("GET", "/api/v1/status", &headers, b"").status, 200);
    assert_eq!(events(&server, &admin, &position), 5);
}
