//! Lines of JSON: bytes in, rows and dead letters out.

use serde::de::IgnoredAny;

use super::gather::Gather;
use super::text::{Part, Tail, Taken};

/// Takes the lines of `part`, as many as fit. The last one, if nothing ends it, is taken when it is a
/// whole JSON object, and else left for when the rest of it is there.
pub(super) fn read(part: &Part<'_>, into: &mut Gather<'_>) -> Taken {
    let mut taken = Taken::default();
    while !into.is_full() {
        let rest = &part.bytes[taken.bytes..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
        line(part, taken.lines, &rest[..end], into);
        taken.bytes += end + 1;
        taken.lines += 1;
    }
    if part.tail != Tail::More && !into.is_full() {
        let rest = &part.bytes[taken.bytes..];
        let text = rest.trim_ascii();
        if text.first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(text).is_ok() {
            line(part, taken.lines, rest, into);
            taken.bytes += rest.len();
        }
    }
    taken
}

fn line(part: &Part<'_>, number: u64, line: &[u8], into: &mut Gather<'_>) {
    let text = line.trim_ascii();
    if text.is_empty() {
        return;
    }
    // Inside fields that the dataset ignores the parser would not look.
    let problem = match std::str::from_utf8(text) {
        Err(_) => Some("the line is not valid UTF-8".to_owned()),
        Ok(_) => into.json(text).err(),
    };
    if let Some(problem) = problem {
        into.reject(part.origin(number), problem, line);
    }
}
