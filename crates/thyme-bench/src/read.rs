//! Online reads, one after the other over one connection.

use serde_json::json;

use crate::Failure;
use crate::arguments::Arguments;
use crate::client::Connection;
use crate::clock::moment;
use crate::summary::summary;

/// Asks for `--targets` in turn until there are `--count` answers, after `--warmup` that do not count.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (count, warmup) = (arguments.number::<usize>("count")?, arguments.number::<usize>("warmup")?);
    let mut connection = Connection::open(arguments.text("addr")?)?;
    let requests: Vec<Vec<u8>> = arguments.lines("targets")?.iter().map(|t| connection.get(t)).collect();
    let mut times = Vec::with_capacity(count);
    let mut bytes = 0;
    for (number, request) in requests.iter().cycle().take(warmup + count).enumerate() {
        let start = moment();
        let body = connection.expect_ok(request)?;
        let time = start.elapsed();
        if number >= warmup {
            times.push(time);
            bytes += body.len();
        }
    }
    if let (Some(path), Some(first)) = (arguments.optional("save-body"), requests.first()) {
        std::fs::write(path, connection.expect_ok(first)?)?;
    }
    let mut found = summary(&mut times);
    found["mean_body_bytes"] = json!(bytes / count.max(1));
    println!("{found}");
    Ok(())
}
