//! The parts of the benchmark that must not measure Python: HTTP clients with a stopwatch, and the bare
//! server that they are compared with.
//!
//! Each subcommand prints one line of JSON; `bench/run.py` puts them together. See `docs/benchmarks.md`.

mod arguments;
mod client;
mod clock;
mod crowd;
mod floor;
mod freshness;
mod loader;
mod read;
mod summary;

use std::process::ExitCode;

use crate::arguments::Arguments;

const USAGE: &str = "usage: thyme-bench COMMAND [--NAME VALUE]...

  serve-floor  --body FILE                    a bare server that answers every GET with these bytes
  read         --addr HOST:PORT --targets FILE --warmup N (--count N | --while FILE) [--save-body FILE]
  crowd        --addr HOST:PORT --targets FILE --connections N --ms N [--rate REQUESTS_PER_S]
  push         --addr HOST:PORT --users FILE --rate EVENTS_PER_S --batch ROWS --connections N --while FILE
  freshness    --addr HOST:PORT --users FILE --rate EVENTS_PER_S --batch ROWS --connections N --seconds N
               --pause-ms N --run NAME";

/// What a command fails with: a sentence.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let done = Arguments::parse(words).and_then(|arguments| match command.as_str() {
        "serve-floor" => floor::run(&arguments),
        "read" => read::run(&arguments),
        "crowd" => crowd::run(&arguments),
        "push" => crowd::push(&arguments),
        "freshness" => freshness::run(&arguments),
        _ => Err(USAGE.into()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("thyme-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
