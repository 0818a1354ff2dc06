"""The year as events, against the published table and against flights worked out by hand."""

from datetime import datetime, timedelta, timezone

import polars as pl
import prepare
import pytest


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def row(frame, flight):
    return frame.row(by_predicate=pl.col("flight") == flight, named=True)


def test_every_flight_is_one_departure_and_one_label(prepared):
    assert prepared.departures.height == prepared.labels.height == 336_776
    assert prepared.departures["flight"].n_unique() == 336_776
    assert set(prepared.departures["flight"]) == set(prepared.labels["flight"])


def test_the_notes_count_what_the_table_holds(prepared):
    assert prepared.notes == {
        "flights": 336_776,
        "departures": 328_521,
        "cancelled": 8_255,
        "arrivals": 328_063,
        "diverted, landed later": 717,
        "diverted, never landed there": 458,
        "arrival scheduled on a later day": 5_709,
        "left on a later New York day": 1_236,
        "zone of the destination by hand": 7_602,
        "aircraft unknown": 2_512,
        "aircraft not in the planes table": 50_094,
        "scheduled hour differs from New York's clock": 0,
        "departure clock differs": 0,
        "arrival clock differs": 1,
        "in the air longer than under way": 0,
        "arrived before it left": 0,
    }


def test_frames_have_the_fields_of_the_datasets_in_time_order(prepared):
    assert prepared.departures.columns == prepare.DEPARTURE_COLUMNS
    assert prepared.arrivals.columns == prepare.ARRIVAL_COLUMNS
    for frame in (prepared.departures, prepared.arrivals):
        assert frame.schema["at"] == pl.Datetime("us", "UTC")
        assert frame.schema[frame.columns[5]] == pl.Float64
        assert frame["at"].is_sorted()
        assert {name for name in frame.columns if frame[name].null_count()} <= {
            "tailnum",
            "dep_delay",
            "arr_delay",
        }


def test_no_arrival_before_its_departure(prepared):
    both = prepared.arrivals.join(prepared.departures, on="flight", suffix="_left")
    assert both.height == prepared.arrivals.height
    assert both.filter(pl.col("at") <= pl.col("at_left")).height == 0
    assert not both["cancelled"].any()
    minutes = (both["at"] - both["at_left"]).dt.total_minutes()
    assert minutes.min() == 33
    assert both.filter(~pl.col("diverted")).select(
        (pl.col("at") - pl.col("at_left")).max()
    ).item() == timedelta(minutes=738)


def test_the_first_flight_of_the_year(prepared):
    # Scheduled 05:15 in New York (UTC-5), two minutes late; 08:19 in Houston (UTC-6), eleven minutes late.
    left = row(prepared.departures, "UA1545-EWR-2013-01-01")
    assert left["at"] == utc("2013-01-01T10:17")
    assert left["dep_delay"] == 2.0
    assert not left["cancelled"]
    landed = row(prepared.arrivals, "UA1545-EWR-2013-01-01")
    assert landed["at"] == utc("2013-01-01T14:30")
    assert landed["arr_delay"] == 11.0
    assert not landed["diverted"]


def test_labels_are_an_hour_before_the_scheduled_departure(prepared):
    label = row(prepared.labels, "UA1545-EWR-2013-01-01")
    assert label["sched_dep"] == utc("2013-01-01T10:15")
    assert label["at"] == utc("2013-01-01T09:15")
    assert (label["origin"], label["carrier"], label["tailnum"]) == ("EWR", "UA", "N14228")
    assert prepared.labels["tailnum"].null_count() == 0
    assert prepared.labels.filter(pl.col("tailnum") == "").height == 2_512


@pytest.mark.parametrize(
    ("flight", "left", "landed"),
    [
        # Honolulu, UTC-10 all year: 15:30 there is 01:30 UTC of the next day; 14 minutes early.
        ("HA51-JFK-2013-01-01", "2013-01-01T13:57", "2013-01-02T01:16"),
        # The greatest delay of the year, 1301 minutes: it left the next morning.
        ("HA51-JFK-2013-01-09", "2013-01-10T11:41", "2013-01-10T22:42"),
        # San Juan is not in the airports table: 11:00 Atlantic time (UTC-4) less 21 minutes.
        ("B6709-JFK-2013-01-01", "2013-01-01T11:15", "2013-01-01T14:39"),
        # 23:15 and half an hour late is the next day in New York; 03:57 in San Juan is the day after as well.
        ("B6707-JFK-2013-03-09", "2013-03-10T04:45", "2013-03-10T08:06"),
        # Clocks go forward while it is in the air, and Aguadilla's do not: 23:59 EST to 04:38 AST is 3 h 39.
        ("B6727-JFK-2013-03-09", "2013-03-10T05:53", "2013-03-10T09:04"),
        # Clocks go back while it is in the air: 23:59 EDT to 03:37 AST is 3 h 38.
        ("B6839-JFK-2013-11-02", "2013-11-03T03:51", "2013-11-03T07:38"),
        # Anchorage in summer is UTC-8.
        ("UA887-EWR-2013-07-06", "2013-07-06T20:29", "2013-07-07T03:54"),
    ],
)
def test_zones_midnights_and_summer_time_by_hand(prepared, flight, left, landed):
    assert row(prepared.departures, flight)["at"] == utc(left)
    assert row(prepared.arrivals, flight)["at"] == utc(landed)


@pytest.mark.parametrize(
    ("local_day", "flights", "first_utc"),
    [
        ("2013-03-09", 765, "2013-03-09T10:00"),  # 05:00 EST
        ("2013-03-10", 908, "2013-03-10T09:00"),  # 05:00 EDT
        ("2013-11-02", 689, "2013-11-02T09:00"),  # 05:00 EDT
        ("2013-11-03", 902, "2013-11-03T10:20"),  # 05:20 EST
    ],
)
def test_the_days_when_clocks_change(prepared, local_day, flights, first_utc):
    day = prepared.labels.filter(pl.col("flight").str.ends_with(local_day))
    assert day.height == flights
    assert day["sched_dep"].min() == utc(first_utc)


def test_the_one_arrival_noted_at_an_hour_that_did_not_exist(prepared):
    # Palm Beach, scheduled 00:34 EST, 89 minutes late: 07:03 UTC, which is 03:03 EDT; the table says 02:03.
    landed = prepared.arrivals.filter(
        pl.col("flight").str.ends_with("2013-03-09"), pl.col("dest") == "PBI", pl.col("arr_delay") == 89
    )
    assert landed["at"].to_list() == [utc("2013-03-10T07:03")]


def test_a_cancelled_flight_is_an_event_at_its_scheduled_time(prepared):
    left = row(prepared.departures, "EV4308-EWR-2013-01-01")  # 16:30 EST
    assert left["at"] == utc("2013-01-01T21:30")
    assert left["cancelled"]
    assert left["dep_delay"] is None
    cancelled = prepared.departures.filter("cancelled")
    scheduled = cancelled.join(prepared.labels, on="flight")
    assert scheduled.height == 8_255
    assert (scheduled["at"] == scheduled["sched_dep"]).all()
    assert cancelled["dep_delay"].null_count() == 8_255
    assert prepared.departures.filter(~pl.col("cancelled"))["dep_delay"].null_count() == 0


def test_flights_of_unknown_aircraft_are_all_cancelled(prepared):
    unknown = prepared.departures.filter(pl.col("tailnum").is_null())
    assert unknown.height == 2_512
    assert unknown["cancelled"].all()
    assert prepared.arrivals["tailnum"].null_count() == 0


def test_a_diverted_flight_arrives_when_the_clock_there_says_so(prepared):
    # To Arkansas, left 15:25 EST, reached it at 19:34 CST after a stop elsewhere.
    to_xna = prepared.arrivals.filter(
        "diverted", pl.col("flight").str.ends_with("2013-01-01"), pl.col("dest") == "XNA"
    )
    assert to_xna["at"].to_list() == [utc("2013-01-02T01:34"), utc("2013-01-02T03:58")]
    diverted = prepared.arrivals.filter("diverted")
    assert diverted["arr_delay"].null_count() == diverted.height == 717
    assert prepared.arrivals.filter(~pl.col("diverted"))["arr_delay"].null_count() == 0


def test_a_quick_run_has_only_its_flights(prepared):
    quick = prepared.first(500)
    assert quick.labels.equals(prepared.labels.head(500))
    assert set(quick.departures["flight"]) == set(quick.labels["flight"])
    assert set(quick.arrivals["flight"]) <= set(quick.labels["flight"])
    assert quick.departures["at"].is_sorted()
    assert quick.arrivals["at"].is_sorted()


@pytest.mark.parametrize(
    ("zone", "after", "clock", "expected"),
    [
        ("America/New_York", "2013-01-01T12:00", 730, "2013-01-01T12:30"),
        ("America/New_York", "2013-01-01T12:00", 700, "2013-01-02T12:00"),  # later, not at the same time
        ("America/New_York", "2013-01-01T12:00", 2400, "2013-01-02T05:00"),  # the midnight that ends the day
        ("America/New_York", "2013-01-02T04:30", 15, "2013-01-02T05:15"),  # 23:30 there: tomorrow
        ("America/New_York", "2013-03-10T06:30", 230, None),  # skipped by summer time
        ("America/New_York", "2013-03-10T06:30", 300, "2013-03-10T07:00"),
        ("America/New_York", "2013-11-03T03:00", 130, "2013-11-03T05:30"),  # shown twice: the earlier
        ("Pacific/Honolulu", "2013-07-01T13:00", 1530, "2013-07-02T01:30"),
    ],
)
def test_first_time_that_a_clock_shows(zone, after, clock, expected):
    frame = pl.DataFrame({"zone": [zone], "after": [utc(after)], "clock": [clock]})
    found = prepare.first_at_clock(frame, after="after", clock="clock", into="found")
    assert found["found"].to_list() == [expected and utc(expected)]


def test_a_destination_without_a_zone_is_named():
    flights = pl.DataFrame({"dest": ["JFK", "QQQ", "SJU"]})
    airports = pl.DataFrame({"faa": ["JFK"], "tzone": ["America/New_York"]})
    with pytest.raises(prepare.DataError, match="QQQ: add them to ZONES_BY_HAND"):
        prepare.with_zones(flights, airports)


def test_a_cache_that_was_cut_short_is_made_again(prepared, tmp_path):
    (tmp_path / "notes.json").write_text('{"version": ')
    assert prepare.prepare(tmp_path).notes == prepared.notes
