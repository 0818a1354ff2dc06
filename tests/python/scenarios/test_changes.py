"""Definitions change while another process pushes and reads all the time: no request fails, and every answer has the
bits of the definitions that it names."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from scenarios.definitions import PLAIN, Given
from scenarios.world import WHOLE, World, by
from thyme.client import ThymeClient
from thyme.errors import ConflictError, NotFoundError, ThymeError

READS = (WHOLE, by(2, 3, 4), by("rides", "latest"), by(5, "mean"), by(batch=True), by(3, 4, batch=True))


def test_a_feature_is_added_and_nobody_notices_who_does_not_ask_for_it(world: World) -> None:
    first = world.commit(PLAIN)
    world.begin(*READS)
    more = replace(PLAIN, features=[*PLAIN.features, Given(6, ("most",), "Stats.most")])
    second = world.commit(more)
    world.linger()
    world.reads(*READS, by(6), by("most", 2))
    world.linger()
    verdict = world.judged()
    assert set(verdict.by_commit) == {first["commit"], second["commit"]}
    assert all(count > 20 for count in verdict.by_commit.values()), verdict


def test_names_change_twice_and_the_old_ones_answer_until_they_are_retired(world: World) -> None:
    world.commit(PLAIN)
    world.begin(*READS, by(4), by("tips"))
    spec = PLAIN
    for name in ("tips_ever", "tips_all"):
        spec = spec.renamed(4, name)
        world.commit(spec)
        # Who asks by the first name knows nothing of it.
        world.linger(20)
        world.reads(*READS, by(4), by("tips"), by(name), by(*spec.features[2].names, batch=True))
        world.linger()
    # Nobody asks by it any more.
    world.reads(*READS, by(4), by("tips_ever"))
    for old in ("tips", "tips_ever"):
        names = tuple(name for name in spec.features[2].names if name != old)
        spec = spec.changed(4, names=names)
        world.noted(world.client.retire(f"Drivers.{old}"), spec)
        with pytest.raises(NotFoundError, match=f"{old}.*tips_all|tips_all.*{old}"):
            world.client.query("Drivers", "d0", features=[old])
        world.linger(20)
        world.reads(*READS, by(4), by("tips_all"))
    world.linger()
    verdict = world.judged()
    assert len(verdict.by_commit) == 5
    assert verdict.by_old_name > 20


def test_a_window_changes_as_a_version_that_is_filled_beside_the_one_that_answers(world: World) -> None:
    world.commit(PLAIN)
    world.bulk(drivers=200, rows=50_000, pushes=8)
    bulk = by(4, 5, entities=[f"b{number}" for number in range(200)])
    world.begin(*READS, bulk)
    with pytest.raises(ConflictError, match="version"):
        world.commit(PLAIN.windowed(5))
    wider = PLAIN.windowed(5)
    both = replace(wider, version=2, earlier=PLAIN.outputs)
    both = both.changed(3, ref="Stats@1.fares")
    both = replace(both, features=[*both.features, Given(6, ("fares_5s",), "Stats.fares")])
    pending = world.commit(both, wait=False)
    assert pending["pending"]["commit"] == pending["commit"]
    # What is new is null and says so, to the client and to everybody else.
    told = world.client.query("Drivers", "d0", features=[2, 6])
    assert told["fares_5s"] is None
    assert told["rides"] is not None
    assert told.metadata["status"] == "INCOMPLETE"
    assert told.metadata["meta"]["incomplete"]["fares_5s"]["commit"] == pending["commit"]
    world.reads(*READS, bulk, by(6), by("fares_5s", 3), by(6, 2, batch=True))
    assert world.client.commit(both.written(world.folder / "definitions"))["commit"] == pending["commit"]
    assert world.client.query("Drivers", "d0", features=[6]).metadata.get("status") != "INCOMPLETE"
    world.linger()
    # The feature goes over to the new version, and the old one ends.
    moved = replace(both.changed(3, ref="Stats.fares"), earlier={})
    world.commit(moved)
    world.linger()
    world.noted(world.client.retire("Stats@1"), moved)
    world.linger()
    verdict = world.judged()
    assert len(verdict.by_commit) == 4
    assert verdict.incomplete > 0


def test_a_removed_id_never_comes_back_not_after_a_restart_either(world: World) -> None:
    world.commit(PLAIN)
    world.begin(*READS)
    world.reads(WHOLE, by(2, 3), by("rides", "tips"))
    fewer = PLAIN.without(5)
    world.commit(fewer)
    world.linger()

    def is_refused(name: str) -> None:
        again = replace(fewer, features=[*fewer.features, Given(5, (name,), "Stats.most")])
        with pytest.raises(ConflictError, match="never reused"):
            world.commit(again)

    is_refused("latest")
    with world.away():
        pass
    is_refused("latest")
    is_refused("most")
    with pytest.raises(NotFoundError):
        world.client.query("Drivers", "d0", features=[5])
    world.linger()
    assert len(world.judged().by_commit) == 2


def test_of_two_people_who_commit_at_once_one_is_told_what_the_other_changed(world: World) -> None:
    base = world.commit(PLAIN)["commit"]
    world.begin(*READS)
    specs = {"tips_ever": PLAIN.renamed(4, "tips_ever"), "newest": PLAIN.renamed(5, "newest")}
    together = Barrier(len(specs))

    def commit(name: str) -> tuple[str, dict[str, object] | ThymeError]:
        file = specs[name].written(world.folder / name)
        with ThymeClient(world.lives.url) as client:
            together.wait()
            try:
                return name, client.commit(file, base=base, author=name)
            except ConflictError as error:
                return name, error

    with ThreadPoolExecutor(len(specs)) as people:
        outcomes = dict(people.map(commit, specs))
    (won,) = (name for name, outcome in outcomes.items() if isinstance(outcome, dict))
    (lost,) = (name for name in specs if name != won)
    answer, refused = outcomes[won], outcomes[lost]
    assert isinstance(answer, dict)
    assert isinstance(refused, ConflictError)
    world.noted(answer, specs[won])
    assert refused.status == 409
    assert f"by {won}" in refused.detail
    assert any(won in fault["message"] for fault in refused.faults), refused.faults
    world.linger()
    # Planned again, it is both.
    first, second = (4, 5) if won == "tips_ever" else (5, 4)
    world.commit(PLAIN.renamed(first, won).renamed(second, lost), base=str(answer["commit"]))
    world.linger()
    assert len(world.judged().by_commit) == 3


def test_definitions_roll_back_and_every_answer_is_of_the_commit_that_it_names(world: World) -> None:
    first = world.commit(PLAIN)
    world.begin(*READS)
    world.commit(replace(PLAIN.windowed(6), pipeline=2, tipped=True))
    world.linger()
    world.noted(world.client.rollback(first["commit"]), PLAIN)
    world.linger()
    assert world.client.committed()["parent"] != first["commit"]
    verdict = world.judged()
    assert len(verdict.by_commit) == 3
    assert all(count > 20 for count in verdict.by_commit.values()), verdict


def test_a_backfill_goes_on_after_a_kill_and_nobody_gets_a_wrong_value(world: World) -> None:
    first = world.commit(PLAIN)
    world.bulk(drivers=200, rows=50_000, pushes=8)
    bulk = by(4, 5, entities=[f"b{number}" for number in range(200)])
    world.begin(*READS, bulk)
    # What rows count changes, so that all of them are read again.
    later = replace(PLAIN.windowed(6), pipeline=2, tipped=True)
    pending = world.commit(later, wait=False)["commit"]
    with world.away():
        assert list((world.lives.data / "log").glob("commit.pending*"))
    world.linger(10)
    # Asked for again, it is the one that is pending, or there is nothing to do.
    assert world.commit(later)["commit"] == pending
    world.linger()
    verdict = world.judged()
    assert set(verdict.by_commit) == {first["commit"], pending}
    assert all(count > 20 for count in verdict.by_commit.values()), verdict
