"""The demo's own logic, without a server: what it compares, and when it asks."""

import math
import random
from datetime import datetime, timedelta, timezone

import demo
import parity
import polars as pl
import prepare
import pytest

NOON = datetime(2013, 6, 1, 12, tzinfo=timezone.utc)
ENTITY = ("JFK", "B6", "N1")


def departures(*rows):
    """Rows of (minutes after noon, delay), all of one entity; no delay: cancelled."""
    return pl.DataFrame(
        [
            (
                f"f{i}",
                *ENTITY[:1],
                f"D{i}",
                *ENTITY[1:],
                delay,
                delay is None,
                NOON + timedelta(minutes=minutes),
            )
            for i, (minutes, delay) in enumerate(rows)
        ],
        schema=dict(
            zip(
                prepare.DEPARTURE_COLUMNS,
                [*[pl.String] * 5, pl.Float64, pl.Boolean, pl.Datetime("us", "UTC")],
                strict=True,
            )
        ),
        orient="row",
    )


def arrivals(*rows):
    return departures(*rows).rename({"dep_delay": "arr_delay", "cancelled": "diverted"})


def test_windows_are_half_open():
    left = departures((-60, 100.0), (-59, 10.0), (0, 21.0), (1, 7.0))
    values = parity.recompute(left, arrivals(), *ENTITY, NOON)
    assert values["origin_departures_1h"] == 2
    assert values["origin_mean_delay_1h"] == 15.5
    assert values["origin_max_delay_1h"] == 21.0
    assert values["origin_departures_24h"] == 3
    assert values["origin_delayed_24h"] == 2
    assert values["origin_share_delayed_24h"] == 2 / 3
    assert values["aircraft_last_delay"] == 21.0
    assert values["aircraft_last_dest"] == "D2"


def test_a_cancelled_flight_counts_as_cancelled_and_in_no_mean():
    values = parity.recompute(departures((-5, 9.0), (-1, None)), arrivals(), *ENTITY, NOON)
    assert values["carrier_cancelled_24h"] == 1
    assert values["carrier_departures_24h"] == 1
    assert values["carrier_mean_delay_24h"] == 9.0
    assert values["origin_late_minutes_24h"] == 9.0
    assert values["aircraft_last_dest"] == "D0"


def test_a_diverted_flight_counts_as_an_arrival_without_a_delay():
    values = parity.recompute(departures(), arrivals((-5, 9.0), (-1, None)), *ENTITY, NOON)
    assert values["origin_arrivals_24h"] == 2
    assert values["origin_diverted_24h"] == 1
    assert values["carrier_mean_arr_delay_24h"] == 9.0
    assert values["aircraft_last_arr_delay"] == 9.0


def test_an_aircraft_never_seen_gives_zeros_nulls_and_defaults():
    values = parity.recompute(departures((-5, 9.0)), arrivals((-1, 2.0)), "JFK", "B6", "", NOON)
    aircraft = {name: value for name, value in values.items() if name.startswith("aircraft_")}
    defaults = {"aircraft_mean_delay_7d": 0.0, "aircraft_max_delay_7d": 0.0, "aircraft_last_dest": ""}
    counts = dict.fromkeys(["aircraft_departures_24h", "aircraft_departures_7d", "aircraft_cancelled_7d"], 0)
    assert aircraft == {**dict.fromkeys(aircraft), **defaults, **counts}


def test_every_feature_is_recomputed():
    text = (demo.HERE / "features.py").read_text()
    names = {line.split(":")[0].strip() for line in text.splitlines() if "= feature(id=" in line}
    values = parity.recompute(departures(), arrivals(), *ENTITY, NOON)
    assert names == {*parity.ENTITY, *values}


@pytest.mark.parametrize(
    ("first", "second", "dtype", "same"),
    [
        (1, 1.0, pl.Float64(), True),  # JSON may write a whole float without a point
        (0.0, -0.0, pl.Float64(), False),
        (0.1 + 0.2, 0.3, pl.Float64(), False),
        (math.nan, math.nan, pl.Float64(), True),
        (math.nan, None, pl.Float64(), False),
        (None, None, pl.Float64(), True),
        (0.0, None, pl.Float64(), False),
        (3, 3, pl.Int64(), True),
        (3.0, 3, pl.Int64(), False),
        (True, 1, pl.Int64(), False),
        ("LAX", "LAX", pl.String(), True),
        ("", None, pl.String(), False),
    ],
)
def test_same_is_by_bits(first, second, dtype, same):
    assert parity.same(first, second, dtype) is same


def answer(**features):
    return parity.Answer(ENTITY, NOON, features)


def test_answers_are_compared_by_bits_and_differences_told():
    answers = [answer(mean=0.1, count=1), answer(mean=None, count=2)]
    later = parity.questions(answers).with_columns(mean=pl.Series([0.1, None]), count=pl.Series([1, 3]))
    (difference,) = parity.compare_answers(answers, later)
    assert str(difference) == "row 1: count of JFK/B6/N1 at 2013-06-01 12:00:00.000000: 2, then 3"


def test_a_value_that_json_cannot_say_is_compared_too():
    odd = parity.Answer(ENTITY, NOON, {"mean": None}, {"mean": "NaN"})
    later = parity.questions([odd])
    assert not parity.compare_answers([odd], later.with_columns(mean=pl.lit(math.nan)))
    assert parity.compare_answers([odd], later.with_columns(mean=pl.lit(None, pl.Float64)))


def test_missing_features_rows_and_another_order_are_errors():
    answers = [answer(mean=0.1), answer(mean=0.2)]
    later = parity.questions(answers).with_columns(mean=pl.Series([0.1, 0.2]))
    with pytest.raises(ValueError, match="differ in their features: mean"):
        parity.compare_answers(answers, later.drop("mean"))
    with pytest.raises(ValueError, match="asked 2 questions again, got 1"):
        parity.compare_answers(answers, later.head(1))
    with pytest.raises(ValueError, match="another order"):
        parity.compare_answers(answers, later.reverse())


class Log:
    """Stands for the client and the reader: keeps what was pushed and checks each question against it."""

    def __init__(self):
        self.pushed = {"departures": [], "arrivals": []}
        self.asked = []

    def log(self, dataset, frame):
        self.pushed[dataset].append(frame)
        return f"e{sum(map(len, self.pushed.values()))}"

    def ask(self, entity, min_position):
        now = max(frame["at"][-1] for frames in self.pushed.values() for frame in frames)
        assert min_position == f"e{sum(map(len, self.pushed.values()))}"
        self.asked.append(now)
        return parity.Answer(entity, now, {"origin_departures_1h": 1})


def replayed(prepared, questions, seed=1):
    log = Log()
    replay = demo.Replay(log, ("departures", "arrivals"), prepared)
    demo.replay_and_ask(replay, log, questions, random.Random(seed))
    return replay, log


def test_everything_is_pushed_once_and_in_order(prepared):
    quick = prepared.first(2_000)
    replay, log = replayed(quick, 300)
    assert pl.concat(log.pushed["departures"]).equals(quick.departures)
    assert pl.concat(log.pushed["arrivals"]).equals(quick.arrivals)
    assert replay.events == replay.total == quick.departures.height + quick.arrivals.height
    assert len(replay.answers) == 300


def test_questions_are_asked_when_all_events_of_the_minute_are_in(prepared):
    quick = prepared.first(2_000)
    times = {*quick.departures["at"], *quick.arrivals["at"]}
    replay, log = replayed(quick, 300)
    assert log.asked == sorted(log.asked)
    assert set(log.asked) <= times
    assert {one.time for one in replay.answers} == set(log.asked)


def test_the_same_seed_asks_the_same_questions(prepared):
    quick = prepared.first(1_000)
    entities = [[one.entity for one in replayed(quick, 80, seed)[0].answers] for seed in (7, 7, 8)]
    assert entities[0] == entities[1] != entities[2]


def test_an_answer_of_the_future_is_refused(prepared):
    class Early(Log):
        def ask(self, entity, min_position):
            return parity.Answer(entity, super().ask(entity, min_position).time + timedelta(days=1), {})

    replay = demo.Replay(Early(), ("departures", "arrivals"), prepared.first(1_000))
    with pytest.raises(demo.DemoError, match="although no event of"):
        demo.replay_and_ask(replay, replay.client, 10, random.Random(1))
