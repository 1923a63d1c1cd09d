"""Whether the store can be reached, and if not, why: a route, its name, an answer, and the airline's own command.

One small thread looks at what costs nothing (routes, every two seconds) and knocks at the store only while there is
doubt: at most four times a minute, at random times so that a fleet that comes home does not knock together. `judge`
is pure. Sends nothing but an empty connection; everybody who waits for the link shares what it found.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from loader.command_runner import run_command
from loader.errors import WorldError
from loader.network.probes import Address, LookUp, answers, has_route, outward
from loader.s3.urls import endpoint_for

log = logging.getLogger("loader")
LOCAL: Final = 2.0  # seconds between two looks at the routes
KNOCKS: Final = 4  # in any minute while the link is down
_KNOCK_WAIT: Final = 30.0  # seconds: the limit of the random wait between two of them
_FRESH: Final = 5.0  # seconds for which an answer is as good as a new one
_ANSWER_TIME: Final = 5.0
_NAME_TIME: Final = 5.0
_COMMAND_TIME: Final = 10.0
_COMMAND_DOWN: Final = 15.0  # seconds between two runs of the command while it says no
_COMMAND_UP: Final = 30.0  # and while it says yes
_REASON_LIMIT: Final = 200
_OUR_ERRORS: Final = ("NETWORK", "TIMEOUT")


@dataclass(frozen=True, slots=True)
class Said:
    """What the link check command said: may the link be used, and its words."""

    yes: bool
    words: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known; None where it was not asked, because something before it said no already.

    `network`: this machine has a route to anywhere. `name`: what name resolution says to the store's name. `route`:
    there is one to its address. `answers`: it took a connection.
    """

    network: bool = True
    command: Said | None = None
    name: Literal["known", "unknown", "silent"] | None = None
    route: bool | None = None
    answers: bool | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason`: a sentence for whoever looks after the aircraft, empty while the link is up."""

    up: bool
    reason: str = ""


def judge(facts: Facts, host: str) -> Verdict:
    """May and can the store at `host` be asked for something?"""
    if facts.command is not None and not facts.command.yes:
        return Verdict(False, f"the link check command says: {facts.command.words or 'no'}")
    if facts.route is False or (facts.name in ("unknown", "silent") and not facts.network):
        return Verdict(False, f"no route to {host}: the network is down")
    if facts.name == "unknown":
        return Verdict(False, f"the name {host} is not known here: name resolution gives no address for it")
    if facts.name == "silent":
        return Verdict(False, f"the name {host} cannot be looked up: name resolution does not answer")
    if facts.answers is False:
        return Verdict(False, f"{host} does not answer")
    return Verdict(True)


def destination(bucket: str, endpoint: str | None, region: str) -> tuple[str, int]:
    """Host and port that requests to a bucket go to: the store's, or those of a proxy in between."""
    parts = urlsplit(endpoint_for(bucket, endpoint, region)[0])
    host = parts.hostname or ""
    proxy = getproxies().get("https") if parts.scheme == "https" and not proxy_bypass(host) else None
    if proxy:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host = parts.hostname or host
    return host, parts.port or (443 if parts.scheme == "https" else 80)


@dataclass
class Knocks:
    """When the store may be knocked at again: full jitter, and never more than `KNOCKS` times in a minute. Pure."""

    chance: random.Random = field(default_factory=random.Random)
    _at: deque[float] = field(default_factory=lambda: deque(maxlen=KNOCKS))

    def knocked(self, now: float) -> None:
        """Once more."""
        self._at.append(now)

    def next(self, now: float, *, within: float = _KNOCK_WAIT) -> float:
        """A random time in the next `within` seconds, or later if there were many."""
        oldest = self._at[0] + 60.0 if len(self._at) == KNOCKS else now
        return max(oldest, now + self.chance.uniform(0.0, within))


class Link:
    """The link to one store. Methods may be called from any thread; the link's own thread is a daemon."""

    def __init__(
        self,
        host: str,
        port: int,
        command: Sequence[str] = (),
        *,
        changed: Callable[[bool, str], None] = lambda up, reason: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`changed` hears, on the link's thread, each time the link goes up or down or is down for another reason.

        Without a command the link is up until something speaks against it, with one it is down until that says yes.
        """
        self._host, self._command, self._changed, self._clock = host, tuple(command), changed, clock
        self._verdict = Verdict(False, "the link check command has not answered yet") if command else Verdict(True)
        self._lookup = LookUp(host, port)
        self._addresses: list[Address] = self._lookup.literal
        self._knocks, self._said = Knocks(), Said(False)
        self._doubted = self._judged = 0  # how often there was doubt, and up to which doubt it was judged
        self._suspect = False  # whether the store has to answer before the link counts as up
        self._answered_at = self._commanded_at = float("-inf")
        self._next_check = 0.0
        self._surroundings: tuple[object, ...] = ()
        self.looked = False  # it has been judged at least once
        self._wake, self._end = threading.Condition(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more, and end a command that is running. Does not wait."""
        self._end.set()
        with self._wake:
            self._wake.notify_all()

    def state(self) -> tuple[bool, str]:
        """Up or down, and why it is down."""
        verdict = self._verdict
        return verdict.up, verdict.reason

    def note(self, error: WorldError) -> None:
        """Something failed: if that may be the link's fault, look whether it is. Returns at once."""
        if error.code in _OUR_ERRORS:
            self._doubt()

    def wait_up(self, stop: threading.Event) -> bool:
        """Was it the link's fault? False: no, it is up. True: it was down, and is up again or `stop` was set."""
        doubt, was_down = self._doubt(), False
        while not self._end.is_set():
            judged, up = self._judged >= doubt, self._verdict.up
            if judged and up:
                break
            was_down |= not up
            # A look takes seconds at most; once the link is down, a second more or less is nothing.
            if stop.wait(1.0 if judged else 0.05):
                return True
        return was_down

    def _doubt(self) -> int:
        with self._wake:
            self._doubted += 1
            self._wake.notify_all()
            return self._doubted

    # The thread.

    def _run(self) -> None:
        while not self._end.is_set():
            doubted = self._doubted
            try:
                self._look(doubted != self._judged)
            except Exception:
                # The edge of a thread: whoever waits for a verdict must not wait for ever.
                log.exception("While looking at the link")
            self._judged, self.looked = doubted, True
            with self._wake:
                if self._doubted == doubted and not self._end.is_set():
                    self._wake.wait(LOCAL)

    def _look(self, doubt: bool) -> None:
        """At the routes always, at everything else where there is a reason to."""
        now, reachable = self._clock(), not self._addresses or has_route(self._addresses)
        before, self._surroundings = self._surroundings, (reachable, outward())
        if self._verdict.up:
            self._look_while_up(now, doubt, reachable)
            return
        if not reachable and self._lookup.literal and before[:1] == (True,):
            self._next_check = now  # to say so costs nothing
        elif reachable and before not in ((), self._surroundings):
            self._next_check = min(self._next_check, self._knocks.next(now, within=LOCAL))
        if now >= self._next_check:
            self._check(now)

    def _look_while_up(self, now: float, doubt: bool, reachable: bool) -> None:
        self._suspect |= not reachable or (doubt and now - self._answered_at >= _FRESH)
        if self._suspect or (self._command and now - self._commanded_at >= _COMMAND_UP):
            self._check(now)

    def _check(self, now: float) -> None:
        """Ask until somebody says no: what is near first, so that nothing is sent over a link that may not be used."""
        facts = self._gather(now)
        verdict = judge(facts, self._host)
        self._suspect = not verdict.up and (self._suspect or facts.route is False)
        if facts.command is not None and not facts.command.yes:
            self._next_check = self._commanded_at + _COMMAND_DOWN
        elif not verdict.up:
            self._next_check = self._knocks.next(self._clock())
        if verdict != self._verdict:
            self._verdict = verdict
            self._changed(verdict.up, verdict.reason)

    def _gather(self, now: float) -> Facts:
        facts = Facts(network=bool(outward()))
        if self._lookup.literal and not has_route(self._lookup.literal):
            return replace(facts, route=False)
        if self._command:
            facts = replace(facts, command=self._ask(now))
        if not self._suspect or (facts.command is not None and not facts.command.yes):
            return facts
        self._knocks.knocked(now)
        found = self._lookup.find(_NAME_TIME)
        if not found:
            return replace(facts, name="silent" if found is None else "unknown")
        self._addresses = found
        if not has_route(found):
            return replace(facts, name="known", route=False)
        answered = answers(found, _ANSWER_TIME)
        if answered:
            self._answered_at = self._clock()
        return replace(facts, name="known", route=True, answers=answered)

    def _ask(self, now: float) -> Said:
        """What the command says now, or said a moment ago."""
        if now - self._commanded_at >= _COMMAND_DOWN:
            outcome = run_command(self._command, _COMMAND_TIME, self._end)
            words = "".join(outcome.first_lines[:1])[:_REASON_LIMIT]
            self._said = Said(outcome.succeeded, words if outcome.exit_status and words else str(outcome))
            self._commanded_at = self._clock()
        return self._said
