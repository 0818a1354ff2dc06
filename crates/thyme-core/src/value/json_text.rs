//! JSON texts: read whole, or searched for what is at a path.

use super::canonical;
use super::json::{JSON_DEPTH_MAX, Json};

/// A step of a path into a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonStep {
    /// What an object has under a key.
    Key(String),
    /// An item of an array; a negative one counts from the end.
    Index(i64),
}

/// The value that a text says; `None` if it is no JSON, has more than [`JSON_DEPTH_MAX`] levels, or a number that no float
/// is near to.
pub fn parse_json(text: &str) -> Option<Json> {
    let mut reader = Reader::new(text);
    let value = reader.value(0)?;
    reader.end().then_some(value)
}

/// The part of a JSON text that is the value at `path`; `None` also if the text is none that [`parse_json`] reads. Of a
/// key that comes several times in an object the last counts.
pub fn find_json<'t>(text: &'t str, path: &[JsonStep]) -> Option<&'t str> {
    let mut reader = Reader::new(text);
    let found = reader.search(0, Some(path))?;
    if reader.end() { found } else { None }
}

/// A place in a text. Whatever gives `None` has met something that is not JSON.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Reader { text, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let found = self.text.get(self.at..)?.starts_with(word);
        self.at += word.len();
        found.then_some(())
    }

    /// Whether nothing but blanks is left.
    fn end(&mut self) -> bool {
        self.blanks();
        self.at == self.text.len()
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        self.blanks();
        match self.peek()? {
            b'{' => {
                let mut entries = Vec::new();
                self.members(depth, |reader, key| {
                    entries.push((key, reader.value(depth + 1)?));
                    Some(())
                })?;
                Some(Json::object(entries))
            }
            b'[' => {
                let mut items = Vec::new();
                self.items(depth, |reader| {
                    items.push(reader.value(depth + 1)?);
                    Some(())
                })?;
                Some(Json::Array(items))
            }
            b'"' => self.string().map(Json::Str),
            b't' => self.word("true").map(|()| Json::Bool(true)),
            b'f' => self.word("false").map(|()| Json::Bool(false)),
            b'n' => self.word("null").map(|()| Json::Null),
            _ => self.number(),
        }
    }

    /// Reads a value without keeping it. What it gives is the part of it at `path`, if one is looked for.
    fn search(&mut self, depth: usize, path: Option<&[JsonStep]>) -> Option<Option<&'t str>> {
        self.blanks();
        let start = self.at;
        let mut found = None;
        match (self.peek()?, path.and_then(<[JsonStep]>::split_first)) {
            (b'{', step) => self.members(depth, |reader, key| {
                let rest = step.and_then(|(step, rest)| (JsonStep::Key(key) == *step).then_some(rest));
                let inner = reader.search(depth + 1, rest)?;
                if rest.is_some() {
                    found = inner;
                }
                Some(())
            })?,
            (b'[', Some((JsonStep::Index(index), rest))) => {
                let mut parts = Vec::new();
                self.items(depth, |reader| {
                    parts.push(reader.search(depth + 1, Some(rest))?);
                    Some(())
                })?;
                let place = if *index < 0 { index + parts.len() as i64 } else { *index };
                found = usize::try_from(place).ok().and_then(|place| parts.get(place).copied().flatten());
            }
            (b'[', _) => self.items(depth, |reader| reader.search(depth + 1, None).map(drop))?,
            _ => drop(self.value(depth)?),
        }
        let whole = self.text.get(start..self.at);
        Some(if path.is_some_and(<[JsonStep]>::is_empty) { whole } else { found })
    }

    fn members(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&mut Self, String) -> Option<()>,
    ) -> Option<()> {
        self.parts(depth, b'}', |reader| {
            let key = reader.string()?;
            reader.blanks();
            if reader.take(b':') { member(reader, key) } else { None }
        })
    }

    fn items(&mut self, depth: usize, item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.parts(depth, b']', item)
    }

    /// What stands between an opening bracket and `close`, with commas in between.
    fn parts(
        &mut self,
        depth: usize,
        close: u8,
        mut part: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        if depth >= JSON_DEPTH_MAX {
            return None;
        }
        self.at += 1;
        self.blanks();
        if self.take(close) {
            return Some(());
        }
        loop {
            self.blanks();
            part(self)?;
            self.blanks();
            if self.take(close) {
                return Some(());
            }
            if !self.take(b',') {
                return None;
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        if !self.take(b'"') {
            return None;
        }
        let mut out = String::new();
        loop {
            let rest = self.text.get(self.at..)?;
            let plain = rest.bytes().position(|b| b == b'"' || b == b'\\' || b < 0x20)?;
            out.push_str(rest.get(..plain)?);
            self.at += plain + 1;
            match rest.as_bytes().get(plain)? {
                b'"' => return Some(out),
                b'\\' => out.push(self.escape()?),
                _ => return None,
            }
        }
    }

    /// What stands after a backslash.
    fn escape(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += 1;
        Some(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.four_digits()?;
                if (0xd800..0xdc00).contains(&first) {
                    self.word("\\u")?;
                    let second = self.four_digits().filter(|low| (0xdc00..0xe000).contains(low))?;
                    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?
                } else {
                    char::from_u32(first)?
                }
            }
            _ => return None,
        })
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        is_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    }

    /// An int within int64, else the nearest float; `-0` is a float, as JSON events have it.
    fn number(&mut self) -> Option<Json> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        let mut is_int = true;
        if self.take(b'.') {
            self.digits()?;
            is_int = false;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
            is_int = false;
        }
        let text = self.text.get(start..self.at)?;
        match text.parse() {
            Ok(int) if is_int && text != "-0" => Some(Json::Int(int)),
            _ => text.parse().ok().filter(|v: &f64| v.is_finite()).map(|v| Json::Float(canonical(v))),
        }
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_JSON: [&str; 22] = [
        "",
        " ",
        "nul",
        "{",
        "[1,]",
        "[1 2]",
        "{\"a\":}",
        "{\"a\" 1}",
        "{a:1}",
        "{\"a\":1,}",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "--1",
        "\"a",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\u{1}\"",
        "1 2",
        "NaN",
    ];

    #[test]
    fn texts_are_read_as_events_are() {
        let texts = [
            "0",
            "-0",
            "-0.0",
            "12",
            "-5e2",
            "0.1",
            "1e300",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775809",
            "1e400",
            "true",
            " [ 1 , {\"b\":null, \"a\" : [] } ] ",
            "{}",
            "\"\"",
            "{\"a\":1,\"a\":{\"b\":2}}",
            "\"\\u00e9\\ud83d\\ude00\\n\\/\"",
            "\"\\ud83d\\u0041\"",
            "[[[]]]",
        ];
        for text in texts.into_iter().chain(NOT_JSON) {
            assert_eq!(parse_json(text), serde_json::from_str::<Json>(text).ok(), "{text}");
        }
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse_json(&deep(32)).is_some() && parse_json(&deep(33)).is_none());
        assert!(find_json(&deep(32), &[]).is_some() && find_json(&deep(33), &[]).is_none());
    }

    #[test]
    fn what_is_at_a_path_is_a_part_of_the_text() {
        let text = r#"{"a": {"b": [1, {"c": "x"}, 3.0]}, "a b": 1, "a b": 2, "é": null}"#;
        let key = |key: &str| JsonStep::Key(key.into());
        let index = JsonStep::Index;
        for (path, found) in [
            (vec![key("a"), key("b"), index(0)], Some("1")),
            (vec![key("a"), key("b"), index(1), key("c")], Some("\"x\"")),
            (vec![key("a"), key("b"), index(-1)], Some("3.0")),
            (vec![key("a"), key("b"), index(3)], None),
            (vec![key("a"), key("b"), index(-4)], None),
            (vec![key("a"), key("b"), index(i64::MIN)], None),
            (vec![key("a"), index(0)], None),
            (vec![key("a"), key("b"), key("c")], None),
            (vec![key("a b")], Some("2")),
            (vec![key("é")], Some("null")),
            (vec![key("none")], None),
            (vec![], Some(text)),
        ] {
            assert_eq!(find_json(text, &path), found, "{path:?}");
        }
        for text in NOT_JSON {
            assert_eq!(find_json(text, &[]), None, "{text}");
            assert_eq!(find_json(&format!("{{\"a\":1,\"b\":{text}}}"), &[key("a")]), None, "{text}");
        }
        assert_eq!(find_json("{\"a\":{\"b\":1},\"a\":2}", &[key("a"), key("b")]), None);
    }
}
