//! Online reads, one after the other over one connection.

use std::path::Path;

use serde_json::json;

use crate::Failure;
use crate::arguments::Arguments;
use crate::client::Connection;
use crate::clock::moment;
use crate::summary::summary;

/// So many reads are made between two looks whether to go on.
const READS_A_LOOK: usize = 32;

/// Asks for `--targets` in turn until there are `--count` answers, after `--warmup` that do not count; or as long as
/// the file `--while` is there.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (while_there, warmup) = (arguments.optional("while"), arguments.number::<usize>("warmup")?);
    let most = match while_there {
        Some(_) => usize::MAX - warmup,
        None => arguments.number::<usize>("count")?,
    };
    let is_over = |number: usize| {
        let looks = number.is_multiple_of(READS_A_LOOK);
        while_there.is_some_and(|path| looks && number > warmup && !Path::new(path).exists())
    };
    let mut connection = Connection::open(arguments.text("addr")?)?;
    let requests: Vec<Vec<u8>> = arguments.lines("targets")?.iter().map(|t| connection.get(t)).collect();
    let mut times = Vec::new();
    let mut bytes = 0;
    for (number, request) in requests.iter().cycle().take(warmup + most).enumerate() {
        if is_over(number) {
            break;
        }
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
    found["mean_body_bytes"] = json!(bytes / times.len().max(1));
    println!("{found}");
    Ok(())
}
