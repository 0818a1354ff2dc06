//! Whatever is sent, the answer is a sentence and a 4xx, and nothing of it is stored.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Date64Array, Decimal128Array, DictionaryArray, Float64Array, Int32Array,
    Int64Array, LargeStringArray, ListArray, NullArray, RecordBatch, StringArray, StringViewArray,
    StructArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use serde_json::{Value as Json, json};
use thyme_query::NoExtractors;
use thyme_server::{App, AppOptions, Reply, Request};
use thyme_testing::random::Random;

const ARROW: &str = "application/vnd.apache.arrow.stream";
const PARQUET: &str = "application/vnd.apache.parquet";
const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";
const LOG: &str = "/api/v1/log?dataset=Ride";
const OFFLINE: &str = "/features/offline?featureset=F&timestamp_column=at";

fn app() -> App {
    let app = App::opening();
    let options = AppOptions { run_sources: false, shards: 1, ..AppOptions::default() };
    app.open(options, Arc::new(NoExtractors)).unwrap();
    let document = json!({"format": 1, "datasets": [
        {"name": "Ride", "index": true, "fields": [
            {"name": "k", "type": "str", "role": "key"}, {"name": "x", "type": "float", "optional": true},
            {"name": "n", "type": "int", "optional": true}, {"name": "at", "type": "datetime", "role": "timestamp"},
        ]},
        {"name": "Stats", "fields": [
            {"name": "k", "type": "str", "role": "key"}, {"name": "at", "type": "datetime", "role": "timestamp"},
            {"name": "c", "type": "int"},
        ], "pipelines": [{"name": "p", "inputs": ["Ride"], "operators": [
            {"op": "groupby", "keys": ["k"]},
            {"op": "aggregate", "aggregates": [{"name": "c", "function": "count"}]},
        ]}]},
    ], "featuresets": [
        {"name": "F", "features": [
            {"id": 1, "name": "k", "type": "str"},
            {"id": 2, "name": "c", "type": "int", "ref": {"dataset": "Stats", "field": "c"}},
        ]},
    ]});
    let reply = send(&app, "/api/v1/commit", JSON, document.to_string().as_bytes());
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    app
}

fn send(app: &App, target: &str, content_type: &str, body: &[u8]) -> Reply {
    let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
    app.request(&Request::new("POST", target, headers, body.to_vec().into()))
}

fn stored(app: &App) -> u64 {
    let reply = app.request(&Request::new("GET", "/api/v1/status", Vec::new(), Default::default()));
    let status: Json = serde_json::from_slice(&reply.body).unwrap();
    status["datasets"].as_array().unwrap().iter().map(|d| d["events"].as_u64().unwrap_or(0)).sum()
}

/// Sends what should be refused; says what came instead, if anything did.
fn check(app: &App, target: &str, content_type: &str, body: &[u8], may_be_valid: bool) -> Option<String> {
    let reply = send(app, target, content_type, body);
    let is_fine = match reply.status {
        200 => may_be_valid,
        400..=422 => {
            let answer: Json = serde_json::from_slice(&reply.body).unwrap_or_default();
            let sentence = answer["detail"].as_str().unwrap_or_default();
            sentence.len() >= 10 && answer["error"].is_string()
        }
        _ => false,
    };
    let shown = String::from_utf8_lossy(&reply.body[..reply.body.len().min(300)]).into_owned();
    (!is_fine).then(|| format!("{target} {content_type}: {} {shown}", reply.status))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn rides() -> RecordBatch {
    let k: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "", "long enough to matter", "é"]));
    let x: ArrayRef =
        Arc::new(Float64Array::from(vec![Some(1.5), None, Some(f64::NAN), Some(-0.0), Some(2.0)]));
    let n: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), None, Some(5)]));
    let at: ArrayRef = Arc::new(Int64Array::from(vec![1_773_568_800; 5]));
    batch(vec![("k", k), ("x", x), ("n", n), ("at", at)])
}

/// The rides with some columns of another kind.
fn with(name: &str, column: &ArrayRef) -> RecordBatch {
    let rides = rides();
    let of = |n| if n == name { column.clone() } else { rides.column_by_name(n).unwrap().clone() };
    batch(["k", "x", "n", "at"].map(|n| (n, of(n))).to_vec())
}

fn stream(batch: &RecordBatch) -> Vec<u8> {
    compressed(batch, None)
}

fn compressed(batch: &RecordBatch, codec: Option<CompressionType>) -> Vec<u8> {
    let mut out = Vec::new();
    let options = IpcWriteOptions::default().try_with_compression(codec).unwrap();
    let mut writer = StreamWriter::try_new_with_options(&mut out, &batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    out
}

fn parquet(batch: &RecordBatch) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(&mut out, batch.schema(), None).ok()?;
    writer.write(batch).ok()?;
    writer.close().ok()?;
    Some(out)
}

/// A damaged copy: flipped bits, numbers at the edges of their types, cut and doubled pieces.
fn damaged(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len());
        let mut put = |at: usize, word: &[u8]| {
            bytes.iter_mut().skip(at).zip(word).for_each(|(byte, new)| *byte = *new);
        };
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            2 => put(at / 4 * 4, &random.pick(&[0, 1, -1, i32::MAX, i32::MIN, 1 << 20, -8]).to_le_bytes()),
            3 => put(
                at / 8 * 8,
                &random.pick(&[0, -1, i64::MAX, i64::MIN, 1 << 33, 1 << 47, 64]).to_le_bytes(),
            ),
            4 if at > 0 => bytes.truncate(at),
            _ => {
                let piece = bytes[at..(at + 8).min(bytes.len())].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}

fn report(failures: &[String]) {
    let shown: Vec<&String> = failures.iter().take(12).collect();
    assert!(failures.is_empty(), "{} failures: {shown:#?}", failures.len());
}

/// Every prefix of a valid body, and damaged copies of it. What is refused leaves nothing behind.
fn fuzz(content_type: &str, valid: &[u8], rounds: usize, seed: u64) {
    let app = app();
    assert_eq!(send(&app, LOG, content_type, valid).status, 200);
    let (mut random, mut failures, mut accepted) = (Random::new(seed), Vec::new(), 0);
    let before = stored(&app);
    for round in 0..valid.len() + rounds {
        let body = if round < valid.len() { valid[..round].to_vec() } else { damaged(&mut random, valid) };
        if round % 4 == 3 {
            failures.extend(check(&app, OFFLINE, content_type, &body, true));
            continue;
        }
        failures.extend(check(&app, LOG, content_type, &body, true));
        if failures.len() > 100 {
            break;
        }
        accepted += 1;
    }
    report(&failures);
    assert!(accepted > 0 && stored(&app) >= before);
}

#[test]
fn a_damaged_arrow_stream_is_refused_with_a_sentence() {
    fuzz(ARROW, &stream(&rides()), 12_000, 1);
}

#[test]
fn a_damaged_arrow_stream_of_dictionaries_is_refused_with_a_sentence() {
    let k: DictionaryArray<Int32Type> = vec!["a", "b", "a", "b", "c"].into_iter().collect();
    fuzz(ARROW, &stream(&with("k", &(Arc::new(k) as ArrayRef))), 6_000, 2);
}

#[test]
fn a_damaged_compressed_arrow_stream_is_refused_with_a_sentence() {
    // Long enough to be worth compressing.
    let rides = rides();
    let many = arrow::compute::concat_batches(&rides.schema(), &vec![rides; 40]).unwrap();
    for (seed, codec) in [CompressionType::LZ4_FRAME, CompressionType::ZSTD].into_iter().enumerate() {
        fuzz(ARROW, &compressed(&many, Some(codec)), 8_000, 5 + seed as u64);
    }
}

#[test]
fn a_length_that_nothing_could_hold_is_refused_before_it_is_taken_at_its_word() {
    let app = app();
    let long = |k: &str| Arc::new(StringArray::from(vec![k.repeat(1000); 5])) as ArrayRef;
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let body = compressed(&with("k", &long("k")), Some(codec));
        let prefix = body.windows(8).rposition(|w| w == 5000u64.to_le_bytes()).unwrap();
        for length in [1i64 << 33, 1 << 40, 1 << 47, 1 << 62, i64::MAX, i64::MIN, -2] {
            let mut lying = body.clone();
            lying[prefix..prefix + 8].copy_from_slice(&length.to_le_bytes());
            report(&Vec::from_iter(check(&app, LOG, ARROW, &lying, false)));
        }
    }
    assert_eq!(stored(&app), 0);
}

#[test]
fn a_damaged_parquet_file_is_refused_with_a_sentence() {
    fuzz(PARQUET, &parquet(&rides()).unwrap(), 6_000, 3);
}

#[test]
fn damaged_json_lines_are_refused_with_a_sentence() {
    let rows = concat!(
        r#"{"k":"a","x":1.5,"n":3,"at":"2026-03-15T10:00:00Z"}"#,
        "\n",
        r#"{"k":"b","x":"NaN","n":null,"at":1773568800.5}"#
    );
    fuzz(NDJSON, rows.as_bytes(), 6_000, 4);
}

#[test]
fn columns_of_other_types_are_refused_with_a_sentence() {
    let app = app();
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1)]); 5]);
    let inner: ArrayRef = Arc::new(Int32Array::from(vec![1; 5]));
    let nested =
        StructArray::from(vec![(Arc::new(Field::new("a", inner.data_type().clone(), false)), inner)]);
    let others: Vec<ArrayRef> = vec![
        Arc::new(list),
        Arc::new(nested),
        Arc::new(NullArray::new(5)),
        Arc::new(BinaryArray::from(vec![&b"\xff"[..]; 5])),
        Arc::new(UInt64Array::from(vec![u64::MAX; 5])),
        Arc::new(Float64Array::from(vec![f64::INFINITY; 5])),
        Arc::new(Float64Array::from(vec![1e300; 5])),
        Arc::new(Int64Array::from(vec![i64::MIN; 5])),
        Arc::new(Int64Array::from(vec![i64::MAX; 5])),
        Arc::new(TimestampSecondArray::from(vec![i64::MAX; 5])),
        Arc::new(Date64Array::from(vec![i64::MIN; 5])),
        Arc::new(Decimal128Array::from(vec![1i128; 5])),
        Arc::new(StringViewArray::from(vec!["not a time, and longer than a view holds"; 5])),
        Arc::new(LargeStringArray::from(vec!["soon"; 5])),
        Arc::new(StringArray::from(vec!["1"; 5])),
    ];
    let mut failures = Vec::new();
    for other in &others {
        for name in ["k", "x", "n", "at"] {
            let batch = with(name, other);
            for target in [LOG, OFFLINE] {
                let mut bodies = vec![(ARROW, stream(&batch))];
                bodies.extend(parquet(&batch).map(|body| (PARQUET, body)));
                for (content_type, body) in bodies {
                    let failure = check(&app, target, content_type, &body, true);
                    failures.extend(failure.map(|f| format!("{name} as {} -> {f}", other.data_type())));
                }
            }
        }
    }
    // The same column twice, and none at all.
    let rows = rides();
    let fields = rows.schema().fields().to_vec();
    let twice = Schema::new([fields.clone(), fields].concat());
    let twice = RecordBatch::try_new(Arc::new(twice), [rows.columns(), rows.columns()].concat()).unwrap();
    let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
    for batch in [twice, none] {
        failures.extend(check(&app, LOG, ARROW, &stream(&batch), false));
    }
    report(&failures);
}

#[test]
fn json_that_makes_no_sense_is_refused_with_a_sentence() {
    let app = app();
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(200_000), close.repeat(200_000));
    let row = |extra: &str| format!(r#"{{"dataset":"Ride","events":[{{"k":"a","at":1773568800{extra}}}]}}"#);
    let bodies = [
        String::new(),
        "null".into(),
        "[]".into(),
        "{".into(),
        "\u{feff}{}".into(),
        deep("[", "]"),
        deep("{\"a\":", "}"),
        format!(r#"{{"dataset":"Ride","events":{}}}"#, deep("[", "]")),
        row(&format!(r#","x":{}"#, deep("[", "]"))),
        row(&format!(r#","x":{}"#, deep("{\"a\":", "}"))),
        row(r#","x":1e999"#),
        row(r#","x":-1e999"#),
        row(r#","n":9223372036854775808"#),
        row(r#","n":-9223372036854775809"#),
        row(&format!(r#","n":{}"#, "9".repeat(100_000))),
        row(&format!(r#","n":{}.5"#, "9".repeat(10_000))),
        row(r#","n":1.5"#),
        row(r#","n":true"#),
        row(r#","n":"1""#),
        row(r#","k":"b""#),
        row(r#","x":1,"x":2"#),
        row(r#","x":NaN"#),
        row(r#","x":"nan""#),
        row(r#","unknown":1"#),
        row(r#","\ud800":1"#),
        row(r#","x":"\ud800""#),
        r#"{"dataset":"Ride","dataset":"Ride","events":[]}"#.into(),
        r#"{"dataset":"Ride","events":[],"events":[]}"#.into(),
        r#"{"dataset":"Ride","events":[],"more":1}"#.into(),
        r#"{"dataset":"Ride","events":{}}"#.into(),
        r#"{"dataset":"Ride","events":[1,null,"a",[]]}"#.into(),
        r#"{"dataset":7,"events":[]}"#.into(),
        r#"{"dataset":"","events":[]}"#.into(),
        r#"{"dataset":"Nothing","events":[]}"#.into(),
        r#"{"dataset":"Stats","events":[{"k":"a"}]}"#.into(),
        r#"{"dataset":"Ride","events":[{"k":null,"at":0}]}"#.into(),
        r#"{"dataset":"Ride","events":[{"k":"a","at":1e300}]}"#.into(),
        r#"{"dataset":"Ride","events":[{"k":"a","at":"99999-01-01"}]}"#.into(),
        r#"{"dataset":"Ride","events":[{"k":"a","at":"2026-02-30T00:00:00Z"}]}"#.into(),
        r#"{"dataset":"Ride","events":[{"k":"a","at":null}]}"#.into(),
        format!(r#"{{"dataset":"Ride","events":[{{"k":"{}","at":0}}]}}"#, "x".repeat((1 << 20) + 1)),
        format!(r#"{{"dataset":"{}","events":[]}}"#, "x".repeat(1 << 20)),
    ];
    let mut failures = Vec::new();
    for body in &bodies {
        let start: String = body.chars().take(80).collect();
        for target in ["/api/v1/log", "/api/v1/commit", "/features", "/features/batch", "/features/offline"] {
            let failure = check(&app, target, JSON, body.as_bytes(), false);
            failures.extend(failure.map(|f| format!("{start} -> {f}")));
        }
        failures.extend(check(&app, "/api/v1/log", JSON, &[body.as_bytes(), b"\xff"].concat(), false));
    }
    report(&failures);
    assert_eq!(stored(&app), 0);
}

#[test]
fn queries_that_make_no_sense_are_refused_with_a_sentence() {
    let app = app();
    let one = |more: Json| {
        let mut body = json!({"featureset": "F", "entity_id": "a"});
        more.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        body
    };
    let bodies = [
        json!({"featureset": "F"}),
        one(json!({"entity_id": null})),
        one(json!({"entity_id": 1})),
        one(json!({"entity_id": {}})),
        one(json!({"entity_id": {"x": "a"}})),
        one(json!({"timestamp": "soon"})),
        one(json!({"timestamp": 1e300})),
        one(json!({"timestamp": 1_773_568_800_000i64})),
        one(json!({"timestamp": true})),
        one(json!({"position": "17"})),
        one(json!({"position": 17})),
        one(json!({"min_position": "e99999999999999999999"})),
        one(json!({"inputs": {"unknown": 1}})),
        one(json!({"inputs": [1]})),
        one(json!({"featureset": "Nothing"})),
        one(json!({"featureset": 7})),
        json!({"featureset": "F", "entity_ids": "a"}),
        json!({"featureset": "F", "entity_ids": [null]}),
        json!({"featureset": "F", "entity_ids": ["a"], "inputs": [{}, {}]}),
        json!({"featureset": "F", "queries": [{}]}),
        json!({"featureset": "F", "queries": [{"entity_id": "a"}]}),
        json!({"featureset": "F", "queries": {"entity_id": "a"}}),
    ];
    let mut failures = Vec::new();
    for body in &bodies {
        for target in ["/features", "/features/batch", "/features/offline"] {
            let failure = check(&app, target, JSON, body.to_string().as_bytes(), false);
            failures.extend(failure.map(|f| format!("{body} -> {f}")));
        }
    }
    for target in [
        "/features",
        "/features?featureset=F",
        "/features?featureset=F&entity_id=a&timestamp=x",
        "/features?featureset=F&entity_id=a&position=%00",
        "/features?entity_type=Nothing&entity_id=a",
        "/features/scan",
        "/features/scan?dataset=F",
        "/features/scan?dataset=Stats&timestamp=1e99",
        "/api/v1/dead-letters?dataset=Nothing",
        "/api/v1/events?limit=x",
        "/nothing",
    ] {
        let reply = app.request(&Request::new("GET", target, Vec::new(), Default::default()));
        if !(400..=422).contains(&reply.status) {
            failures.push(format!("GET {target}: {} {}", reply.status, String::from_utf8_lossy(&reply.body)));
        }
    }
    report(&failures);
}

#[test]
fn a_parameter_that_is_given_twice_is_named_unless_it_is_a_list() {
    let app = app();
    let get = |target: &str| app.request(&Request::new("GET", target, Vec::new(), Default::default()));
    let described: Json = serde_json::from_slice(&get("/openapi.json").body).unwrap();
    let (mut failures, mut asked) = (Vec::new(), 0);
    for (path, methods) in described["paths"].as_object().unwrap() {
        let of_path = methods.as_object().unwrap().iter();
        for (method, operation) in of_path.filter(|_| !["/health", "/metrics"].contains(&path.as_str())) {
            for param in operation["parameters"].as_array().unwrap().iter().filter(|p| p["in"] == "query") {
                let name = param["name"].as_str().unwrap();
                let target = format!("{}?{name}=1&{name}=1", path.replace("{id}", "q1"));
                let request = Request::new(&method.to_uppercase(), &target, Vec::new(), Default::default());
                let reply = app.request(&request);
                let said = String::from_utf8_lossy(&reply.body).into_owned();
                let is_refused = reply.status == 400
                    && said.contains(&format!("{name}: expected one value, got 2; give this parameter once"));
                asked += 1;
                if is_refused == (param["schema"]["type"] == "array") {
                    failures.push(format!("{method} {target}: {} {said}", reply.status));
                }
            }
        }
    }
    assert!(asked > 100, "{asked}");
    report(&failures);
    let read = "/features?featureset=F&";
    for (query, status) in [
        ("k=a&k=b", 400),
        ("k=a&k=a", 400),
        ("entity_id=a&featureset=F", 400),
        ("entity_id=a&%66eatureset=G", 400),
        ("entity_id=a&features=2&features=1", 200),
    ] {
        let reply = get(&format!("{read}{query}"));
        assert_eq!(reply.status, status, "{query}: {}", String::from_utf8_lossy(&reply.body));
    }
}
