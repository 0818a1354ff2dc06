"""Whether a request is sent again, and when: decided from facts, with neither clock nor socket.

A request may be sent again when that does no more than sending it once (a read, a push with an idempotency
key), or when it is known that the server has done nothing of it (no connection, or it says "overloaded").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# The pause before the second try after a failed connection is none, for what failed is mostly a connection
# that was closed while it was idle; from then on pauses grow, up to a limit.
PAUSE_FIRST_S = 0.2
PAUSE_GROWTH = 3.0
PAUSE_MAX_S = 5.0
# The longest that a busy server may ask to wait; one that asks for more is not asked again.
BUSY_PAUSE_MAX_S = 10.0
# How often a request is sent to a server that says that too much comes in.
OVERLOADED_TRIES = 21


@dataclass(frozen=True)
class Policy:
    """How patient a request is.

    Attributes:
        tries: How often it is sent at most.
        repeatable: Whether sending it twice does no more than sending it once.
        patient: Whether it waits for a server that is away or busy; one that asks how the server is does not.
        deadline: The time at which all is over, on the clock that `Tries` is told; None for never.
    """

    tries: int
    repeatable: bool
    patient: bool
    deadline: float | None


class Tries:
    """The tries of one request.

    Attributes:
        count: How often it has been sent.
    """

    def __init__(self, policy: Policy, spread: Callable[[], float]) -> None:
        """Begins with none.

        Args:
            policy: How patient it is.
            spread: Gives a number from 0 to 1 at random: those who fail together do not come back together.
        """
        self._policy = policy
        self._spread = spread
        self.count = 0
        self._pause = PAUSE_FIRST_S

    def after_failure(self, now: float, *, may_have_arrived: bool) -> float | None:
        """How long to pause before the next try when the connection failed; None to give up.

        Args:
            now: The time.
            may_have_arrived: Whether the server may have read some of the request.
        """
        policy = self._policy
        safe = policy.repeatable if may_have_arrived else policy.patient
        if not safe or self.count >= policy.tries:
            return None
        if self.count == 1 and may_have_arrived:
            return self._within(now, 0.0)
        pause = self._pause
        self._pause = min(self._pause * PAUSE_GROWTH, PAUSE_MAX_S)
        return self._within(now, pause * (0.5 + self._spread() / 2))

    def after_refusal(self, now: float, *, retry_after_s: float | None, overloaded: bool) -> float | None:
        """How long to pause before the next try when the server said "not now"; None to give up.

        Args:
            now: The time.
            retry_after_s: After how long it wants to be asked again.
            overloaded: Whether it says that it has done nothing because too much comes in.
        """
        policy = self._policy
        if retry_after_s is None or retry_after_s > BUSY_PAUSE_MAX_S or not policy.patient:
            return None
        tries = OVERLOADED_TRIES if overloaded else policy.tries if policy.repeatable else 1
        if self.count >= (tries if policy.tries > 1 else 1):
            return None
        return self._within(now, retry_after_s * (1 + self._spread() / 2))

    def _within(self, now: float, pause: float) -> float | None:
        deadline = self._policy.deadline
        return pause if deadline is None or now + pause < deadline else None
