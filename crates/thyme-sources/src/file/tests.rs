//! The readers against tables of bytes: the same rows, dead letters and lines whatever the windows are.

use std::path::Path;

use thyme_core::definition::{Dataset, Extra};

use super::cursor::TextPlace;
use super::gather::Gather;
use super::text::{Known, Reading, Tail};
use super::{Format, Look};

fn dataset(extra: Extra) -> Dataset {
    let text = r#"{"name": "Ride", "fields": [
        {"name": "k", "type": "str", "role": "key"}, {"name": "x", "type": "int", "optional": true},
        {"name": "at", "type": "datetime", "role": "timestamp"}]}"#;
    Dataset { extra, ..serde_json::from_str(text).unwrap() }
}

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// `k/x` of each row.
    rows: Vec<String>,
    /// `line: reason: raw` of each dead letter.
    dead: Vec<String>,
    left: usize,
    last: Option<Look>,
}

fn read(bytes: &[u8], format: Format, end: Tail, extra: Extra, batch_rows: usize) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, bytes).unwrap();
    follow(&path, format, end, extra, batch_rows, &mut TextPlace::default(), &mut Known::default())
}

fn follow(
    path: &Path,
    format: Format,
    end: Tail,
    extra: Extra,
    batch_rows: usize,
    place: &mut TextPlace,
    known: &mut Known,
) -> Outcome {
    let dataset = dataset(extra);
    let mut outcome = Outcome::default();
    loop {
        let mut gather = Gather::with_rows_max(&dataset, batch_rows);
        let mut buffer = Vec::new();
        let mut reading = Reading { name: "f", path, format, end, place, known, buffer: &mut buffer };
        let look = reading.step(&mut gather).unwrap();
        let (batch, dead) = gather.finish().unwrap();
        for row in 0..batch.num_rows() {
            let cell = |column: usize| {
                let options = arrow::util::display::FormatOptions::default().with_null("-");
                arrow::util::display::ArrayFormatter::try_new(batch.column(column), &options)
                    .unwrap()
                    .value(row)
                    .to_string()
            };
            outcome.rows.push(format!("{}/{}", cell(0), cell(1)));
        }
        for d in dead {
            let line = d.origin.strip_prefix("f:").unwrap();
            outcome.dead.push(format!("{line}: {}: {}", d.reason, String::from_utf8_lossy(&d.raw)));
        }
        if look != Look::More {
            let size = std::fs::metadata(path).unwrap().len();
            outcome.left = (size - place.offset.min(size)) as usize;
            outcome.last = Some(look);
            return outcome;
        }
    }
}

#[test]
fn jsonl_lines_become_rows_or_dead_letters() {
    let cases: [(&str, &[&str], &[&str], usize); 9] = [
        ("", &[], &[], 0),
        ("{\"k\":\"a\",\"at\":1}\n{\"k\":\"b\",\"x\":2,\"at\":1}\n", &["a/-", "b/2"], &[], 0),
        ("\u{feff}{\"k\":\"a\",\"at\":1}\r\n\r\n\n{\"k\":\"b\",\"at\":1}\r\n", &["a/-", "b/-"], &[], 0),
        // Without a newline: whole objects are taken, others wait.
        ("{\"k\":\"a\",\"at\":1}", &["a/-"], &[], 0),
        ("{\"k\":\"a\",\"at\":1}\n{\"k\":\"b\",\"at\"", &["a/-"], &[], 13),
        ("{\"k\":\"a\",\"at\":1}\n1", &["a/-"], &[], 1),
        ("{\"at\":1}", &[], &["1: k: expected str, got nothing (the field is missing): {\"at\":1}"], 0),
        (
            "\n{\"k\":1,\"at\":1}\n{\"k\":\"a\",\"at\":1}\n{oops\n",
            &["a/-"],
            &[
                "2: k: expected str, got int 1: {\"k\":1,\"at\":1}",
                "4: row: expected a JSON object, got malformed JSON (key must be a string at line 1 column 2): {oops",
            ],
            0,
        ),
        (
            "{\"k\":\"a\",\"y\":1,\"at\":1}\n",
            &[],
            &[
                "1: y: expected a field of the dataset (did you mean k, x?), got an unknown field: {\"k\":\"a\",\"y\":1,\"at\":1}",
            ],
            0,
        ),
    ];
    for (text, rows, dead, left) in cases {
        for batch_rows in [1, 2, 100] {
            let outcome = read(text.as_bytes(), Format::Jsonl, Tail::Growing, Extra::Forbid, batch_rows);
            assert_eq!(outcome.rows, rows, "{text}");
            assert_eq!(outcome.dead, dead, "{text}");
            assert_eq!((outcome.left, outcome.last), (left, Some(Look::End)), "{text}");
        }
    }
    let bytes = b"{\"k\":\"a\",\"at\":1,\"z\":\"\xff\"}\n{\"k\":\"b\",\"at\":1,\"z\":[{}]}\n";
    let outcome = read(bytes, Format::Jsonl, Tail::Growing, Extra::Ignore, 10);
    assert_eq!(outcome.rows, ["b/-"]);
    assert!(outcome.dead[0].starts_with("1: the line is not valid UTF-8"));
}

#[test]
fn csv_records_become_rows_or_dead_letters() {
    let cases: [(&str, &[&str], &[&str]); 12] = [
        ("", &[], &[]),
        ("at,k,x\n", &[], &[]),
        ("at,k,x\n1,a,5\n1,b,\n", &["a/5", "b/-"], &[]),
        ("\u{feff}k,at\r\na,1\r\n\r\nb,2\r\n", &["a/-", "b/-"], &[]),
        // The last line of a settled file.
        ("k,at\na,1", &["a/-"], &[]),
        ("k,at\na,1\n  ", &["a/-"], &[]),
        (
            "k,at\n\"a\n\"\"b\"\"\",1\nc,x\n",
            &["a\n\"b\"/-"],
            &["4: at: expected datetime (ISO 8601, or seconds since the epoch), got str \"x\": c,x"],
        ),
        (
            "k,at\na\nb,1,2\nc,3\n",
            &["c/-"],
            &[
                "2: the record has 1 fields, the header has 2: a",
                "3: the record has 3 fields, the header has 2: b,1,2",
            ],
        ),
        (
            "k,x,at\r\na,1.5,1\r\nb,2,1\r\n",
            &["b/2"],
            &["2: x: expected int or null, got str \"1.5\": a,1.5,1"],
        ),
        // A stray quote takes its own line with it, not the good ones after it.
        ("k,at\n\"a,1\nb,2\nc,3\n", &["b/-", "c/-"], &["2: a quoted field has no closing quote: \"a,1"]),
        (
            "k,at\n\"a,1\nb,2\n\"c\",3\nd,4\n",
            &["b/-", "c/-", "d/-"],
            &["2: a quoted field goes on after its closing quote: \"a,1"],
        ),
        ("k,at\na,\"1", &[], &["2: a quoted field has no closing quote: a,\"1"]),
    ];
    for (text, rows, dead) in cases {
        for batch_rows in [1, 2, 100] {
            let outcome = read(text.as_bytes(), Format::Csv, Tail::Settled, Extra::Forbid, batch_rows);
            assert_eq!(outcome.rows, rows, "{text}");
            assert_eq!(outcome.dead, dead, "{text}");
            assert_eq!((outcome.left, outcome.last), (0, Some(Look::End)), "{text}");
        }
    }
    let outcome = read(b"k,at\n\xff,1\nb,2\n", Format::Csv, Tail::Settled, Extra::Forbid, 10);
    assert_eq!(outcome.rows, ["b/-"]);
    assert!(outcome.dead[0].starts_with("2: the record is not valid UTF-8"), "{:?}", outcome.dead);
}

#[test]
fn a_csv_that_grows_keeps_its_last_line_back() {
    for (text, rows, left) in
        [("k,a", 0, 3), ("k,at\na,1\nb,2", 1, 3), ("k,at\na,1\r", 1, 0), ("k,at\n\"a\n", 0, 3)]
    {
        let outcome = read(text.as_bytes(), Format::Csv, Tail::Growing, Extra::Forbid, 10);
        assert_eq!((outcome.rows.len(), outcome.left), (rows, left), "{text}");
        let last = if left > 0 { Look::Waiting } else { Look::End };
        assert_eq!(outcome.last, Some(last), "{text}");
    }
}

#[test]
fn a_header_that_does_not_fit_is_said_in_a_sentence() {
    let cases = [
        (
            "k,at,xx\na,1,1\n",
            Extra::Forbid,
            "the header has the column \"xx\", which is not a field of dataset Ride (did you mean x?); rename it, or declare the dataset with extra=\"ignore\"",
        ),
        ("k,x\n", Extra::Ignore, "the header has no column at of dataset Ride"),
        ("k,at,k\n", Extra::Forbid, "the header has the column \"k\" twice"),
        ("k,\"at\n", Extra::Forbid, "the header has a quote that is not closed"),
    ];
    for (text, extra, sentence) in cases {
        let outcome = read(text.as_bytes(), Format::Csv, Tail::Settled, extra, 10);
        assert_eq!(outcome.last, Some(Look::Refused(sentence.into())), "{text}");
        assert!(outcome.rows.is_empty() && outcome.dead.is_empty());
    }
    let outcome = read(b"xx,k,at,\n9,a,1,\n", Format::Csv, Tail::Settled, Extra::Ignore, 10);
    assert_eq!(outcome.rows, ["a/-"]);
}

#[test]
fn a_file_that_grows_byte_by_byte_gives_the_same_rows() {
    let csv = "k,x,at\r\na,1,1\r\n\"b\r\n\"\"\",2,1\r\n\r\nbad\r\nc,3,1\r\n";
    let jsonl = "{\"k\":\"a\",\"x\":1,\"at\":1}\n\n{\"k\":\"b\\\"\",\"x\":2,\"at\":1}\r\n{bad}\n{\"k\":\"c\",\"x\":3,\"at\":1}\n";
    for (format, text) in [(Format::Csv, csv), (Format::Jsonl, jsonl)] {
        let whole = read(text.as_bytes(), format, Tail::Growing, Extra::Forbid, 100);
        assert_eq!((whole.rows.len(), whole.dead.len()), (3, 1));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let (mut place, mut known) = Default::default();
        let mut grown = Outcome::default();
        for end in 0..=text.len() {
            std::fs::write(&path, &text.as_bytes()[..end]).unwrap();
            if end % 7 == 0 {
                // A restart.
                known = Known::default();
            }
            let more = follow(&path, format, Tail::Growing, Extra::Forbid, 100, &mut place, &mut known);
            grown.rows.extend(more.rows);
            grown.dead.extend(more.dead);
            (grown.left, grown.last) = (more.left, more.last);
        }
        assert_eq!(grown, whole);
    }
}

#[test]
fn content_that_changed_before_the_place_reached_is_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let line = |i: usize| format!("{{\"k\":\"a{i}\",\"at\":1}}\n");
    let text: String = (0..100).map(line).collect();
    let changed_early = text.replacen("a0", "b0", 1);
    let changed_late = text.replacen("a99", "b99", 1);
    for (other, expected) in [
        (text.clone() + &line(100), Look::End),
        (text[..text.len() - 1].to_owned(), Look::Replaced),
        (changed_early + &line(100), Look::Replaced),
        (changed_late, Look::Replaced),
        (String::new(), Look::Replaced),
    ] {
        std::fs::write(&path, &text).unwrap();
        let (mut place, mut known) = Default::default();
        let first = follow(&path, Format::Jsonl, Tail::Growing, Extra::Forbid, 1000, &mut place, &mut known);
        assert_eq!(first.rows.len(), 100);
        std::fs::write(&path, &other).unwrap();
        known = Known::default();
        let second = follow(&path, Format::Jsonl, Tail::Growing, Extra::Forbid, 1000, &mut place, &mut known);
        assert_eq!(second.last, Some(expected.clone()), "{expected:?}");
    }
}

#[test]
fn what_never_ends_is_passed_over() {
    let row = |k: &str| format!("{{\"k\":\"{k}\",\"at\":1}}\n");
    let long = "x".repeat(super::text::LINE_BYTES_MAX + (3 << 20));
    let jsonl = format!("{}{long}\n{}", row("a"), row("b"));
    let outcome = read(jsonl.as_bytes(), Format::Jsonl, Tail::Growing, Extra::Forbid, 10);
    assert_eq!(outcome.rows, ["a/-", "b/-"]);
    assert_eq!(outcome.dead.len(), 1);
    assert!(outcome.dead[0].starts_with("2: the line does not end within 16 MiB (the record is "));

    let good = format!("{},1\n", "c".repeat(1000));
    let many = super::text::LINE_BYTES_MAX / good.len() + 10;
    let csv = format!("k,at\na,1\n\"b,1\n{}", good.repeat(many));
    let outcome = read(csv.as_bytes(), Format::Csv, Tail::Growing, Extra::Forbid, 1 << 20);
    assert_eq!(outcome.rows.len(), many + 1);
    assert_eq!(outcome.dead, ["3: a quoted field does not end within 16 MiB: \"b,1"]);
}
