use serde_json::{Value as Json, from_value, json, to_value};

use super::*;
use crate::time::{EVENT_TIME_MIN, parse_timestamp};

fn window(written: Json) -> Window {
    from_value(written).unwrap()
}

fn at(text: &str) -> EventTime {
    parse_timestamp(text).unwrap()
}

/// The window as of a time, as `[start, end]`.
fn shown(window: &Window, time: &str) -> (String, String) {
    let extent = window.extent(at(time));
    (EventTime(extent.after.0 + 1).to_rfc3339(), extent.until.to_rfc3339())
}

fn check(written: Json, cases: &[(&str, &str, &str)]) {
    let window = window(written.clone());
    for (time, start, end) in cases {
        let (got_start, got_end) = shown(&window, time);
        assert_eq!((got_start.as_str(), got_end.as_str()), (*start, *end), "{written} as of {time}");
    }
}

const LONDON: &str = "Europe/London";

#[test]
fn a_day_is_the_calendars_of_a_named_zone() {
    check(
        json!({"kind": "tumbling", "every": "1d", "tz": LONDON}),
        &[
            // The clocks go forward on March 29: that day has 23 hours.
            ("2026-03-28T23:59:59.999999Z", "2026-03-28T00:00:00Z", "2026-03-28T23:59:59.999999Z"),
            ("2026-03-29T00:00:00Z", "2026-03-29T00:00:00Z", "2026-03-29T00:00:00Z"),
            ("2026-03-29T22:59:59.999999Z", "2026-03-29T00:00:00Z", "2026-03-29T22:59:59.999999Z"),
            ("2026-03-29T23:00:00Z", "2026-03-29T23:00:00Z", "2026-03-29T23:00:00Z"),
            // They go back on October 25: that one has 25.
            ("2026-10-24T23:00:00Z", "2026-10-24T23:00:00Z", "2026-10-24T23:00:00Z"),
            ("2026-10-25T23:59:59.999999Z", "2026-10-24T23:00:00Z", "2026-10-25T23:59:59.999999Z"),
            ("2026-10-26T00:00:00Z", "2026-10-26T00:00:00Z", "2026-10-26T00:00:00Z"),
        ],
    );
    check(
        json!({"kind": "tumbling", "every": "day", "tz": LONDON, "lookback": 1}),
        &[
            ("2026-03-29T23:00:00Z", "2026-03-29T00:00:00Z", "2026-03-29T22:59:59.999999Z"),
            ("2026-03-29T22:59:59.999999Z", "2026-03-28T00:00:00Z", "2026-03-28T23:59:59.999999Z"),
            ("2026-10-26T00:00:00Z", "2026-10-24T23:00:00Z", "2026-10-25T23:59:59.999999Z"),
        ],
    );
}

#[test]
fn weeks_begin_on_mondays_and_months_on_the_first() {
    check(
        json!({"kind": "tumbling", "every": "1w", "tz": "America/New_York"}),
        &[
            ("2026-03-16T03:59:59.999999Z", "2026-03-09T04:00:00Z", "2026-03-16T03:59:59.999999Z"),
            ("2026-03-16T04:00:00Z", "2026-03-16T04:00:00Z", "2026-03-16T04:00:00Z"),
        ],
    );
    check(
        json!({"kind": "tumbling", "every": "1mo", "tz": "Asia/Kolkata", "lookback": 2}),
        &[("2026-04-30T18:30:00Z", "2026-02-28T18:30:00Z", "2026-03-31T18:29:59.999999Z")],
    );
    check(
        json!({"kind": "tumbling", "every": "quarter"}),
        &[("1969-12-31T00:00:00Z", "1969-10-01T00:00:00Z", "1969-12-31T00:00:00Z")],
    );
    check(
        json!({"kind": "tumbling", "every": "1y", "lookback": 1}),
        &[("2026-12-31T00:00:00Z", "2025-01-01T00:00:00Z", "2025-12-31T23:59:59.999999Z")],
    );
}

#[test]
fn parts_of_a_day_begin_where_the_clocks_show_a_multiple() {
    let hour = |lookback: u32| json!({"kind": "tumbling", "every": "1h", "tz": LONDON, "lookback": lookback});
    check(
        hour(0),
        &[
            // One o'clock comes twice, an hour each.
            ("2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"),
            ("2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"),
        ],
    );
    check(hour(3), &[("2026-10-25T02:00:00Z", "2026-10-24T23:00:00Z", "2026-10-24T23:59:59.999999Z")]);
    let six = |lookback: u32| json!({"kind": "tumbling", "every": "6h", "tz": LONDON, "lookback": lookback});
    check(
        six(0),
        &[
            ("2026-03-29T04:59:59.999999Z", "2026-03-29T00:00:00Z", "2026-03-29T04:59:59.999999Z"),
            ("2026-03-29T05:00:00Z", "2026-03-29T05:00:00Z", "2026-03-29T05:00:00Z"),
            ("2026-10-25T05:59:59.999999Z", "2026-10-24T23:00:00Z", "2026-10-25T05:59:59.999999Z"),
        ],
    );
    check(six(4), &[("2026-03-29T23:00:00Z", "2026-03-29T00:00:00Z", "2026-03-29T04:59:59.999999Z")]);
    // Put forward from two to half past two: that is where a window of two hours begins.
    check(
        json!({"kind": "tumbling", "every": "2h", "tz": "Australia/Lord_Howe"}),
        &[("2026-10-03T16:00:00Z", "2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z")],
    );
}

#[test]
fn a_hopping_window_is_complete() {
    check(
        json!({"kind": "hopping", "span": "1d", "hop": "1h"}),
        &[
            ("2026-03-15T10:59:59.999999Z", "2026-03-14T10:00:00Z", "2026-03-15T09:59:59.999999Z"),
            ("2026-03-15T11:00:00Z", "2026-03-14T11:00:00Z", "2026-03-15T10:59:59.999999Z"),
        ],
    );
    check(
        json!({"kind": "hopping", "span": "1w", "hop": "1d", "tz": LONDON, "lookback": 1}),
        &[("2026-03-31T12:00:00Z", "2026-03-23T00:00:00Z", "2026-03-29T22:59:59.999999Z")],
    );
}

#[test]
fn an_offset_is_the_window_as_of_then() {
    check(
        json!({"kind": "sliding", "span": "7d", "offset": "7d"}),
        &[("2026-03-15T10:00:00Z", "2026-03-01T10:00:00.000001Z", "2026-03-08T10:00:00Z")],
    );
    check(
        json!({"kind": "tumbling", "every": "1d", "tz": LONDON, "offset": "1d"}),
        &[("2026-03-30T12:00:00Z", "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z")],
    );
    let forever = window(json!({"kind": "forever", "offset": "1h"}));
    assert_eq!(forever.extent(EventTime(0)), Extent::up_to(EventTime(-3_600_000_000)));
}

#[test]
fn windows_are_written_back_in_their_shortest_form() {
    let cases = [
        (json!("24h"), json!("1d"), "\"1d\""),
        (json!({"kind": "sliding", "span": "7d"}), json!("1w"), "\"1w\""),
        (
            json!({"kind": "tumbling", "every": "month", "tz": "UTC", "lookback": 0}),
            json!({"kind": "tumbling", "every": "1mo"}),
            "Tumbling(\"1mo\")",
        ),
        (
            json!({"kind": "hopping", "span": "24h", "hop": "60m", "tz": LONDON, "offset": "7d"}),
            json!({"kind": "hopping", "span": "1d", "hop": "1h", "tz": LONDON, "offset": "1w"}),
            "Hopping(\"1d\", \"1h\", tz=\"Europe/London\", offset=\"1w\")",
        ),
        (json!({"kind": "forever"}), json!({"kind": "forever"}), "Forever()"),
        (
            json!({"kind": "session", "gap": "60m", "offset": "24h"}),
            json!({"kind": "session", "gap": "1h", "offset": "1d"}),
            "Session(gap=\"1h\", offset=\"1d\")",
        ),
        (json!({"kind": "rows", "rows": 10}), json!({"kind": "rows", "rows": 10}), "Rows(10)"),
    ];
    for (written, kept, text) in cases {
        let window = window(written);
        assert_eq!(to_value(window).unwrap(), kept);
        assert_eq!(window.to_string(), text);
    }
}

#[test]
fn what_cannot_be_a_window_is_refused_with_the_fix() {
    let cases = [
        (json!("1mo"), "duration"),
        (json!({"kind": "tumbling", "every": "7h"}), "divide a day"),
        (json!({"kind": "tumbling", "every": "0d"}), "positive integer"),
        (json!({"kind": "tumbling", "every": "1d", "tz": "Mars/Base"}), "Mars/Base"),
        (json!({"kind": "tumbling", "every": "1d", "lookback": 100_001}), "at most 100000"),
        (json!({"kind": "tumbling", "every": "1d", "size": 1}), "size"),
        (json!({"kind": "hopping", "span": "1mo", "hop": "1d"}), "whole number of hops"),
        (json!({"kind": "hopping", "span": "1h", "hop": "1d"}), "whole number of hops"),
        (json!({"kind": "falling"}), "falling"),
        (json!({"kind": "rows", "rows": 0}), "1 to 100000"),
        (json!({"kind": "rows", "rows": 100_001}), "1 to 100000"),
        (json!({"kind": "session", "gap": "1mo"}), "duration"),
        (json!(7), "window"),
    ];
    for (written, why) in cases {
        let error = from_value::<Window>(written.clone()).unwrap_err().to_string();
        assert!(error.contains(why), "{written}: {error}");
    }
}

#[test]
fn ends_never_move_back_and_adjacent_windows_share_nothing() {
    let zones =
        ["Europe/London", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia"];
    for every in ["15m", "1h", "3h", "12h", "1d", "2d", "1w", "1mo"] {
        for tz in zones {
            for lookback in [0, 1, 30] {
                let of = |back: u32| {
                    window(json!({"kind": "tumbling", "every": every, "tz": tz, "lookback": back}))
                };
                let (this, before) = (of(lookback), of(lookback + 1));
                let mut last = this.extent(EventTime(1_293_840_000_000_000));
                for step in 0..2_000 {
                    let time = EventTime(1_293_840_000_000_000 + step * 17_983_000_001);
                    let (extent, earlier) = (this.extent(time), before.extent(time));
                    assert!(extent.after >= last.after && extent.until >= last.until, "{this} {time:?}");
                    assert_eq!(earlier.until, extent.after, "{this} {time:?}");
                    assert!(extent.after <= extent.until && extent.until <= time, "{this} {time:?}");
                    let reach = this.reach().unwrap();
                    assert!(time.0 - extent.after.0 <= reach.0, "{this} {time:?}");
                    last = extent;
                }
            }
        }
    }
}

#[test]
fn the_earliest_time_without_what_is_gone() {
    let gone = at("2026-03-15T10:00:00Z");
    let cases = [
        (json!("1h"), Some("2026-03-15T11:00:00Z")),
        (json!({"kind": "tumbling", "every": "1d", "tz": LONDON}), Some("2026-03-16T00:00:00Z")),
        (
            json!({"kind": "tumbling", "every": "1d", "tz": LONDON, "lookback": 1}),
            Some("2026-03-17T00:00:00Z"),
        ),
        (json!({"kind": "forever"}), None),
    ];
    for (written, earliest) in cases {
        assert_eq!(window(written).earliest_without(gone), earliest.map(at));
    }
}

#[test]
fn any_time_has_a_window() {
    for every in ["1s", "1h", "1d", "2w", "7mo", "10000y"] {
        for tz in ["UTC", "Europe/London"] {
            for lookback in [0, 1, 100_000] {
                let window =
                    window(json!({"kind": "tumbling", "every": every, "tz": tz, "lookback": lookback}));
                for time in [EVENT_TIME_MIN, EventTime(0), EVENT_TIME_MAX] {
                    let extent = window.extent(time);
                    assert!(extent.after <= extent.until, "{window} {time:?}");
                }
                // Nobody asks as of these, but a search may.
                assert!(window.extent(EventTime(i64::MIN)).after <= window.extent(EventTime(i64::MAX)).after);
            }
        }
    }
}
