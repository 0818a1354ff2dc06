//! Windows in a document: a duration as a text for a sliding one, or an object that names its kind.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::calendar::Every;
use super::{Hopping, Kind, LOOKBACK_MAX, ROWS_MAX, Rows, Session, Sliding, Tumbling, Window};
use crate::error::{Error, Result};
use crate::time::Span;
use crate::zone::Zone;

/// The object form.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Written {
    Forever {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<Span>,
    },
    Sliding {
        span: Span,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<Span>,
    },
    Tumbling {
        every: Every,
        #[serde(default, skip_serializing_if = "is_utc")]
        tz: Zone,
        #[serde(default, skip_serializing_if = "is_zero")]
        lookback: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<Span>,
    },
    Session {
        gap: Span,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<Span>,
    },
    Rows {
        rows: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<Span>,
    },
    Hopping {
        span: Every,
        hop: Every,
        #[serde(default, skip_serializing_if = "is_utc")]
        tz: Zone,
        #[serde(default, skip_serializing_if = "is_zero")]
        lookback: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<Span>,
    },
}

fn is_utc(zone: &Zone) -> bool {
    *zone == Zone::utc()
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Written {
    fn window(self) -> Result<Window> {
        Ok(match self {
            Written::Forever { offset } => Window { kind: Kind::Forever, offset },
            Written::Sliding { span, offset } => Window { kind: Kind::Sliding(Sliding { span }), offset },
            Written::Session { gap, offset } => Window { kind: Kind::Session(Session { gap }), offset },
            Written::Rows { rows, offset } => {
                if !(1..=ROWS_MAX).contains(&rows) {
                    return Err(Error::invalid_definition(format!(
                        "a window of rows has 1 to {ROWS_MAX} of them, got {rows}; use a window of time for more"
                    )));
                }
                Window { kind: Kind::Rows(Rows { rows }), offset }
            }
            Written::Tumbling { every, tz, lookback, offset } => {
                let lookback = counted("lookback", lookback)?;
                Window { kind: Kind::Tumbling(Tumbling { every, tz, lookback }), offset }
            }
            Written::Hopping { span, hop, tz, lookback, offset } => {
                let hops = span.in_parts_of(hop).ok_or_else(|| {
                    Error::invalid_definition(format!(
                        "a hopping window of \"{span}\" is not a whole number of hops of \"{hop}\"; make it one, such as \"{}\"",
                        hop.times(24)
                    ))
                })?;
                let (hops, lookback) = (counted("hops", hops)?, counted("lookback", lookback)?);
                Window { kind: Kind::Hopping(Hopping { hop, hops, tz, lookback }), offset }
            }
        })
    }

    fn of(window: &Window) -> Written {
        let offset = window.offset;
        match window.kind {
            Kind::Forever => Written::Forever { offset },
            Kind::Sliding(Sliding { span }) => Written::Sliding { span, offset },
            Kind::Session(Session { gap }) => Written::Session { gap, offset },
            Kind::Rows(Rows { rows }) => Written::Rows { rows, offset },
            Kind::Tumbling(Tumbling { every, tz, lookback }) => {
                Written::Tumbling { every, tz, lookback, offset }
            }
            Kind::Hopping(Hopping { hop, hops, tz, lookback }) => {
                Written::Hopping { span: hop.times(hops), hop, tz, lookback, offset }
            }
        }
    }
}

fn counted(what: &str, count: u32) -> Result<u32> {
    if count <= LOOKBACK_MAX {
        return Ok(count);
    }
    Err(Error::invalid_definition(format!("a window has at most {LOOKBACK_MAX} {what}, got {count}")))
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match (self.kind, self.offset) {
            (Kind::Sliding(Sliding { span }), None) => span.serialize(serializer),
            _ => Written::of(self).serialize(serializer),
        }
    }
}

struct AsWritten;

impl<'de> Visitor<'de> for AsWritten {
    type Value = Window;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a window: a duration such as \"7d\", or an object with its kind")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Window, E> {
        Span::parse(text).map(Window::sliding).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Window, A::Error> {
        let written = Written::deserialize(MapAccessDeserializer::new(map))?;
        written.window().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(AsWritten)
    }
}
