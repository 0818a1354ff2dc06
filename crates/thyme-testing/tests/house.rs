//! The rules of the house that a text search can check.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which crate may use which others of ours: the direction of `architecture.md`, as a table. A crate's tests
/// may also use `thyme-testing` and `thyme-oracle`.
const EDGES: &[(&str, &[&str])] = &[
    ("thyme-core", &[]),
    ("thyme-oracle", &["thyme-core"]),
    ("thyme-timeline", &["thyme-core"]),
    ("thyme-log", &["thyme-core"]),
    ("thyme-store", &["thyme-core", "thyme-timeline"]),
    ("thyme-engine", &["thyme-core", "thyme-timeline", "thyme-log", "thyme-store"]),
    ("thyme-query", &["thyme-core", "thyme-timeline", "thyme-engine"]),
    ("thyme-sources", &["thyme-core", "thyme-engine"]),
    ("thyme-audit", &["thyme-core", "thyme-oracle", "thyme-engine", "thyme-query"]),
    ("thyme-server", &["thyme-core", "thyme-engine", "thyme-query", "thyme-sources", "thyme-audit"]),
    ("thyme-python", &["thyme-core", "thyme-engine", "thyme-query", "thyme-sources", "thyme-server"]),
    ("thyme-bench", &[]),
    (
        "thyme-testing",
        &[
            "thyme-core",
            "thyme-oracle",
            "thyme-timeline",
            "thyme-log",
            "thyme-store",
            "thyme-engine",
            "thyme-query",
        ],
    ),
];

/// What the tests of any crate may use.
const FOR_TESTS: &[&str] = &["thyme-testing", "thyme-oracle"];

/// Lines a source file has at most.
const LINES_MAX: usize = 600;
/// Files that may be longer. This list only shrinks.
const LONG_FILES: &[&str] = &[];
const ARCHITECTURE_LINES_MAX: usize = 300;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc", "types"];
/// Files that are called so all the same. This list only shrinks.
const EMPTY_NAMED_FILES: &[&str] = &["python/thyme/_types.py"];
/// Crates that are told the time, and the one file that reads a clock for them.
const TIMELESS: &[&str] = &["thyme-core", "thyme-timeline", "thyme-query"];
const THE_CLOCK: &str = "crates/thyme-core/src/env.rs";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The files below `path` with these suffixes, relative to the root of the repository.
fn files(path: &str, suffixes: &[&str]) -> Vec<String> {
    let (root, mut found) = (root(), Vec::new());
    let mut folders = vec![root.join(path)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "__pycache__" {
                    folders.push(path);
                }
            } else if suffixes.iter().any(|suffix| name.ends_with(suffix)) {
                found.push(path.strip_prefix(&root).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<String> {
    ["crates", "python", "tests", "examples", "bench"]
        .iter()
        .filter(|folder| root().join(folder).is_dir())
        .flat_map(|folder| files(folder, &[".rs", ".py", ".pyi"]))
        .collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// Our crates that a manifest names in a section such as `dependencies`, and the package's own name.
fn manifest(path: &str) -> (String, BTreeMap<String, BTreeSet<String>>) {
    let (mut name, mut section, mut uses) = (String::new(), String::new(), BTreeMap::new());
    for line in read(path).lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_matches(['[', ']']);
            // `[dependencies.thyme-core]` is a dependency too.
            let (kind, dependency) =
                header.split_once(".thyme-").map_or((header, None), |(k, d)| (k, Some(d)));
            section = kind.to_owned();
            if let Some(dependency) = dependency {
                let of = uses.entry(section.clone()).or_insert_with(BTreeSet::new);
                of.insert(format!("thyme-{dependency}"));
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let key = key.trim().trim_matches('"');
        if section == "package" && key == "name" {
            name = value.trim().trim_matches('"').to_owned();
        } else if section.ends_with("dependencies") && key.starts_with("thyme-") {
            let dependency = key.split('.').next().unwrap_or(key).to_owned();
            uses.entry(section.clone()).or_default().insert(dependency);
        }
    }
    (name, uses)
}

#[test]
fn crates_use_each_other_in_one_direction() {
    let manifests = [files("crates", &["Cargo.toml"]), files("python", &["Cargo.toml"])].concat();
    let mut seen = BTreeSet::new();
    for path in manifests {
        let (name, uses) = manifest(&path);
        let row = EDGES.iter().find(|(crate_name, _)| *crate_name == name);
        let (_, allowed) = row.unwrap_or_else(|| panic!("{path}: {name} has no row in the table of edges"));
        for (section, used) in uses {
            let is_dev = section.ends_with("dev-dependencies");
            let forbidden: Vec<_> = used
                .iter()
                .filter(|other| {
                    !(allowed.contains(&other.as_str()) || is_dev && FOR_TESTS.contains(&other.as_str()))
                })
                .collect();
            assert!(forbidden.is_empty(), "{path}: {section} of {name} must not have {forbidden:?}");
        }
        seen.insert(name);
    }
    let gone: Vec<_> = EDGES.iter().filter(|(name, _)| !seen.contains(*name)).collect();
    assert!(gone.is_empty(), "rows for crates that are not there: {gone:?}");
}

#[test]
fn the_table_of_edges_has_no_circle() {
    let mut below: Vec<&str> = Vec::new();
    while below.len() < EDGES.len() {
        let fits = |(name, uses): &&(&'static str, &[&str])| {
            !below.contains(name) && uses.iter().all(|other| below.contains(other))
        };
        let (name, _) = EDGES.iter().find(fits).expect("every crate stands on some that stand already");
        below.push(name);
    }
}

#[test]
fn no_source_file_is_longer_than_the_most() {
    let lines = |path: &str| read(path).lines().count();
    let long: Vec<_> = sources().into_iter().filter(|path| lines(path) > LINES_MAX).collect();
    let new: Vec<_> = long.iter().filter(|path| !LONG_FILES.contains(&path.as_str())).collect();
    assert!(new.is_empty(), "longer than {LINES_MAX} lines: {new:?}");
    let short: Vec<_> = LONG_FILES.iter().filter(|path| long.iter().all(|l| l != *path)).collect();
    assert!(short.is_empty(), "no longer too long, take them off the list: {short:?}");
}

#[test]
fn no_file_or_folder_is_named_after_nothing() {
    let says_nothing = |path: &String| {
        Path::new(path).components().any(|part| {
            let part = part.as_os_str().to_string_lossy();
            let stem = part.split('.').next().unwrap_or_default().trim_start_matches('_').to_owned();
            EMPTY_NAMES.contains(&stem.as_str())
        })
    };
    let found: Vec<_> = sources().into_iter().filter(says_nothing).collect();
    assert_eq!(found, EMPTY_NAMED_FILES);
}

#[test]
fn nothing_is_left_to_be_done() {
    // In two parts, or this file would be found.
    let marks = [concat!("FIX", "ME"), concat!("TO", "DO")];
    let found: Vec<_> =
        sources().into_iter().filter(|path| marks.iter().any(|mark| read(path).contains(mark))).collect();
    assert!(found.is_empty(), "{marks:?} in {found:?}");
}

#[test]
fn every_library_begins_with_what_it_is() {
    for path in files("crates", &["/src/lib.rs", "lib.rs"]).into_iter().filter(|p| p.ends_with("/src/lib.rs"))
    {
        assert!(read(&path).starts_with("//! "), "{path} does not begin with a //! paragraph");
    }
}

#[test]
fn the_description_of_the_architecture_can_be_read_in_one_sitting() {
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(lines <= ARCHITECTURE_LINES_MAX, "ARCHITECTURE.md has {lines} lines");
}

#[test]
fn what_computes_values_reads_no_clock() {
    for name in TIMELESS {
        for path in files(&format!("crates/{name}/src"), &[".rs"]) {
            let text = read(&path);
            let reads = ["Instant::now", "SystemTime::now", "Utc::now", "Local::now"]
                .iter()
                .any(|call| text.contains(call));
            assert!(!reads || path == THE_CLOCK, "{path} reads a clock; take the time from Env");
        }
    }
}
