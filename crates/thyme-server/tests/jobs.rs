//! Training sets that the server computes: what becomes of them when something goes wrong.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "sockets and their servers take threads and time")]

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use serde_json::{Value as Json, json};
use thyme_core::definition::{Dataset, Extractor};
use thyme_core::{EventTime, Result, Value};
use thyme_query::{ColumnBuffer, ExtractorHost, LookupContext, NoExtractors};
use thyme_server::{App, AppOptions, Request, examine};

const JOBS: &str = "/api/v1/jobs/offline";

/// Says that it computes, and goes on when it is told to.
#[derive(Debug)]
struct Held {
    begun: Mutex<Sender<()>>,
    goes_on: Mutex<Receiver<()>>,
}

impl ExtractorHost for Held {
    fn load(&self, _: &str, _: &Extractor, _: &[Dataset]) -> Result<u64> {
        Ok(1)
    }

    fn call(
        &self,
        _: u64,
        times: &[EventTime],
        _: &[&ColumnBuffer],
        _: &LookupContext,
    ) -> Result<Vec<Vec<Value>>> {
        if !times.is_empty() {
            self.begun.lock().unwrap().send(()).unwrap();
            // It ends when nobody holds it any more.
            let _ = self.goes_on.lock().unwrap().recv();
        }
        Ok(vec![vec![Value::Int(1); times.len()]])
    }
}

fn open(data: &Path, host: Arc<dyn ExtractorHost>) -> App {
    let app = App::opening();
    let options = AppOptions { path: Some(data.to_owned()), shards: 1, ..AppOptions::default() };
    app.open(options, host).unwrap();
    app
}

fn ask(app: &App, method: &str, target: &str, content_type: &str, body: Vec<u8>) -> (u16, Json) {
    let headers = vec![("content-type".to_owned(), content_type.to_owned())];
    let reply = app.request(&Request::new(method, target, headers, body.into()));
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
}

fn post(app: &App, target: &str, body: &Json) -> Json {
    let (status, answer) = ask(app, "POST", target, "application/json", body.to_string().into_bytes());
    assert_eq!(status, 200, "{target}: {answer}");
    answer
}

fn get(app: &App, target: &str) -> Json {
    let (status, answer) = ask(app, "GET", target, "", Vec::new());
    assert_eq!(status, 200, "{target}: {answer}");
    answer
}

fn fill(app: &App, with_extractor: bool) {
    let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
    let fields = [field("k", "str", "key"), field("x", "int", "value"), field("at", "datetime", "timestamp")];
    let extractor = json!({"name": "give", "inputs": [{"feature": "k"}], "outputs": ["one"], "deps": [],
        "form": "positional", "code": ""});
    let features = json!([{"id": 1, "name": "k", "type": "str"}, {"id": 2, "name": "one", "type": "int"}]);
    let reference = json!([{"id": 1, "name": "k", "type": "str"},
        {"id": 2, "name": "x", "type": "int", "ref": {"dataset": "Event", "field": "x"}}]);
    let set = match with_extractor {
        true => json!({"name": "F", "features": features, "extractors": [extractor]}),
        false => json!({"name": "F", "features": reference}),
    };
    let document = json!({"format": 1, "datasets": [{"name": "Event", "index": true, "fields": fields}],
        "featuresets": [set]});
    post(app, "/api/v1/commit", &document);
    let events =
        json!([{"k": "anna", "x": 1, "at": 1_700_000_000}, {"k": "bert", "x": 2, "at": 1_700_000_001}]);
    post(app, "/api/v1/log", &json!({"dataset": "Event", "events": events}));
}

/// A job of two labels: its id.
fn begin(app: &App) -> String {
    let k: ArrayRef = Arc::new(StringArray::from(vec!["anna", "bert"]));
    let at: ArrayRef = Arc::new(Int64Array::from(vec![1_700_000_005; 2]));
    let batch = RecordBatch::try_from_iter([("k", k), ("at", at)]).unwrap();
    let mut labels = Vec::new();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut labels, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let target = format!("{JOBS}?featureset=F&timestamp_column=at&min_position=e2");
    let (status, job) = ask(app, "POST", &target, "application/vnd.apache.arrow.stream", labels);
    assert_eq!(status, 200, "{job}");
    job["id"].as_str().unwrap().to_owned()
}

/// The job once it has ended.
fn ended(app: &App, id: &str) -> Json {
    for _ in 0..1200 {
        let job = get(app, &format!("{JOBS}?id={id}"));
        if ["done", "failed"].contains(&job["status"].as_str().unwrap()) {
            return job;
        }
        thread::sleep(Duration::from_millis(50));
    }
    unreachable!("the job does not end");
}

/// The names of all files and folders below one.
fn names_below(folder: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(names_below(&path));
        }
        names.push(path);
    }
    names.sort();
    names
}

fn events(app: &App, event_type: &str) -> Vec<Json> {
    get(app, &format!("/api/v1/events?event_type={event_type}"))["events"].as_array().unwrap().clone()
}

#[test]
fn a_job_whose_file_is_damaged_is_kept_and_told_until_it_is_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path(), Arc::new(NoExtractors));
    fill(&app, false);
    let (damaged, intact) = (begin(&app), begin(&app));
    for id in [&damaged, &intact] {
        assert_eq!(ended(&app, id)["status"], "done");
    }
    app.close();
    let folder = dir.path().join("jobs").join(&damaged);
    let told = |health: &str| {
        let found = examine(dir.path(), false, i64::MAX, &|_, _| {}).unwrap();
        let of_jobs = found.findings.iter().filter(|finding| finding.part == "jobs");
        let shown: Vec<String> = of_jobs.map(|finding| json!(finding).to_string()).collect();
        assert!(shown.len() == 1 && shown[0].contains(health), "{shown:?}");
        shown[0].clone()
    };
    told("intact");
    std::fs::write(folder.join("job.json"), b"{\"id\": \"j").unwrap();
    // What never was a job is no matter.
    std::fs::write(dir.path().join("jobs").join("a note"), b"mine").unwrap();
    let before = names_below(&folder);
    assert!(told("damaged").contains(&damaged));
    for _ in 0..2 {
        let app = open(dir.path(), Arc::new(NoExtractors));
        let shown = get(&app, JOBS)["jobs"].clone();
        let of = |id: &str| shown.as_array().unwrap().iter().find(|job| job["id"] == id).unwrap().clone();
        assert_eq!(of(&intact)["status"], "done");
        let job = of(&damaged);
        assert_eq!((&job["status"], &job["error"]["error"]), (&json!("failed"), &json!("corrupt")));
        let detail = job["error"]["detail"].as_str().unwrap();
        assert!(detail.contains("job.json cannot be read") && detail.contains("are kept in"), "{detail}");
        let events = events(&app, "job_damaged");
        assert!(events.len() == 1 && events[0]["severity"] == "error", "{events:?}");
        assert_eq!(names_below(&folder), before);
        assert_eq!(std::fs::read(folder.join("job.json")).unwrap(), b"{\"id\": \"j");
        app.close();
    }
    let app = open(dir.path(), Arc::new(NoExtractors));
    // Its labels name whoever is erased now.
    post(&app, "/api/v1/erase", &json!({"dataset": "Event", "entity_ids": ["anna"]}));
    assert_eq!(names_below(&folder), [folder.join("job.json")]);
    app.close();
    let app = open(dir.path(), Arc::new(NoExtractors));
    ask(&app, "POST", &format!("{JOBS}/cancel?id={damaged}"), "", Vec::new());
    assert!(!folder.exists());
    let cancelled = events(&app, "job_cancelled");
    assert_eq!((&cancelled[0]["subject"], &cancelled[0]["by"]), (&json!(damaged), &json!("anonymous")));
    app.close();
}

#[test]
fn rows_that_were_computed_while_somebody_was_erased_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let ((begun, computes), (go_on, goes_on)) = (channel(), channel());
    let host = Held { begun: Mutex::new(begun), goes_on: Mutex::new(goes_on) };
    let app = open(dir.path(), Arc::new(host));
    fill(&app, true);
    let id = begin(&app);
    let folder = dir.path().join("jobs").join(&id);
    computes.recv_timeout(Duration::from_secs(60)).unwrap();
    post(&app, "/api/v1/erase", &json!({"dataset": "Event", "entity_ids": ["anna"]}));
    drop(go_on);
    let job = ended(&app, &id);
    assert_eq!((&job["status"], &job["error"]["error"]), (&json!("failed"), &json!("gone")), "{job}");
    // The runner has looked at it again by the time that it computes the next.
    assert_eq!(ended(&app, &begin(&app))["status"], "done");
    assert_eq!(names_below(&folder), [folder.join("job.json")]);
    app.close();
}

#[test]
fn backups_have_neither_jobs_nor_query_runs() {
    let dir = tempfile::tempdir().unwrap();
    let [data, backup, restored] = ["data", "backup", "restored"].map(|name| dir.path().join(name));
    let app = open(&data, Arc::new(NoExtractors));
    fill(&app, false);
    assert_eq!(ended(&app, &begin(&app))["status"], "done");
    get(&app, "/features?featureset=F&entity_id=anna");
    assert!(!get(&app, "/api/v1/query-runs")["query_runs"].as_array().unwrap().is_empty());
    post(&app, "/api/v1/backup", &json!({"directory": backup}));
    app.close();
    for folder in ["jobs", "query-runs"] {
        assert!(!names_below(&data.join(folder)).is_empty(), "{folder}");
    }
    thyme_engine::maintenance::restore(&backup, &restored, &|_, _| {}).unwrap();
    for name in names_below(&backup).iter().chain(&names_below(&restored)) {
        let shown = name.strip_prefix(dir.path()).unwrap().to_string_lossy().into_owned();
        assert!(!shown.contains("jobs") && !shown.contains("query-runs"), "{shown}");
    }
    assert!(names_below(&backup).iter().any(|name| name.to_string_lossy().contains("audit")));
    let app = open(&restored, Arc::new(NoExtractors));
    assert_eq!(get(&app, JOBS)["jobs"], json!([]));
    assert_eq!(get(&app, "/api/v1/query-runs")["query_runs"], json!([]));
    app.close();
}
