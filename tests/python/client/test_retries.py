"""When a request is sent again: a table of facts."""

from __future__ import annotations

import pytest

from thyme._retries import BUSY_PAUSE_MAX_S, OVERLOADED_TRIES, PAUSE_MAX_S, Policy, Tries


def tries(
    *,
    tries: int = 6,
    repeatable: bool = True,
    patient: bool = True,
    deadline: float | None = None,
    spread: float = 1.0,
) -> Tries:
    policy = Policy(tries=tries, repeatable=repeatable, patient=patient, deadline=deadline)
    return Tries(policy, lambda: spread)


def failures(request: Tries, may_have_arrived: bool) -> list[float]:
    """The pauses until it gives up."""
    pauses = []
    while True:
        request.count += 1
        pause = request.after_failure(0.0, may_have_arrived=may_have_arrived)
        if pause is None:
            return pauses
        pauses.append(pause)


@pytest.mark.parametrize(
    ("repeatable", "patient", "may_have_arrived", "sent"),
    [
        (True, True, True, 6),
        (True, True, False, 6),
        (False, True, False, 6),  # nothing arrived: anything may be sent again
        (False, True, True, 1),  # a push without a key may have been stored
        (True, False, True, 6),  # the connection was closed while it was idle
        (True, False, False, 1),  # who asks whether the server is there is told
    ],
)
def test_only_what_is_safe_is_sent_again(
    repeatable: bool, patient: bool, may_have_arrived: bool, sent: int
) -> None:
    request = tries(repeatable=repeatable, patient=patient)
    failures(request, may_have_arrived)
    assert request.count == sent


def test_pauses_grow_up_to_a_limit_and_are_spread() -> None:
    assert failures(tries(tries=7, spread=1.0), False) == pytest.approx([0.2, 0.6, 1.8, 5.0, 5.0, 5.0])
    assert failures(tries(tries=7, spread=0.0), False) == pytest.approx([0.1, 0.3, 0.9, 2.5, 2.5, 2.5])
    assert max(failures(tries(tries=50), False)) == PAUSE_MAX_S


def test_a_connection_that_broke_is_replaced_at_once_and_then_with_pauses() -> None:
    assert failures(tries(tries=4), True) == pytest.approx([0.0, 0.2, 0.6])


def test_no_pause_goes_beyond_the_deadline() -> None:
    assert failures(tries(deadline=1.0), False) == pytest.approx([0.2, 0.6])
    request = tries(deadline=1.0)
    request.count = 1
    assert request.after_refusal(0.0, retry_after_s=1.0, overloaded=False) is None
    assert request.after_refusal(0.0, retry_after_s=0.5, overloaded=True) == 0.75


@pytest.mark.parametrize(
    ("repeatable", "patient", "overloaded", "retry_after_s", "sent"),
    [
        (True, True, False, 1.0, 6),
        (False, True, False, 1.0, 1),
        (False, True, True, 1.0, OVERLOADED_TRIES),  # it has done nothing
        (True, False, False, 1.0, 1),
        (True, True, False, None, 1),
        (True, True, True, None, 1),
        (True, True, False, BUSY_PAUSE_MAX_S, 6),
        (True, True, False, BUSY_PAUSE_MAX_S + 1, 1),
    ],
)
def test_a_busy_server_is_asked_again_as_it_says(
    repeatable: bool, patient: bool, overloaded: bool, retry_after_s: float | None, sent: int
) -> None:
    request = tries(repeatable=repeatable, patient=patient, spread=0.0)
    while True:
        request.count += 1
        pause = request.after_refusal(0.0, retry_after_s=retry_after_s, overloaded=overloaded)
        if pause is None:
            break
        assert pause == retry_after_s
    assert request.count == sent


def test_one_try_is_one_try() -> None:
    for arrived in (True, False):
        assert failures(tries(tries=1), arrived) == []
    request = tries(tries=1)
    request.count = 1
    assert request.after_refusal(0.0, retry_after_s=0.0, overloaded=True) is None
