"""Monitors whether the store can be reached, and why not: routes, name, connection, the airline's command.

One thread checks routes every two seconds, which costs nothing, and probes the store only while there is doubt: at most
four times a minute, at random times so that a fleet does not probe together. `assess_link` is pure. Sends nothing but
an empty connection.
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
from loader.network.probes import Address, Resolver, accepts_connection, external_routes, has_route
from loader.s3.http.urls import endpoint_for

log = logging.getLogger("loader")
ROUTE_INTERVAL: Final = 2.0  # seconds between two looks at the routes
MAX_PROBES: Final = 4  # in any minute while the link is down
_PROBE_WAIT: Final = 30.0  # seconds: the limit of the random wait between two of them
_FRESH: Final = 5.0  # seconds for which an answer is as good as a new one
_ANSWER_TIME: Final = 5.0
_NAME_TIME: Final = 5.0
_COMMAND_TIME: Final = 10.0
_COMMAND_DOWN: Final = 15.0  # seconds between two runs of the command while it says no
_COMMAND_UP: Final = 30.0  # and while it says yes
_REASON_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """What the link check command said: may the link be used, and its words."""

    allowed: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class ProbeResults:
    """What is known; None where it was not asked, because something before it said no already.

    `network`: this machine has a route to anywhere. `name`: what name resolution says to the store's name. `route`:
    there is one to its address. `accepts_connection`: it took a connection.
    """

    network: bool = True
    command: CommandAnswer | None = None
    name: Literal["known", "unknown", "silent"] | None = None
    route: bool | None = None
    accepts_connection: bool | None = None


@dataclass(frozen=True, slots=True)
class LinkState:
    """`reason`: a sentence for whoever looks after the aircraft, empty while the link is up."""

    up: bool
    reason: str = ""


def assess_link(results: ProbeResults, host: str) -> LinkState:
    """May and can the store at `host` be asked for something?"""
    if results.command is not None and not results.command.allowed:
        return LinkState(False, f"the link check command says: {results.command.text or 'no'}")
    if results.route is False or (results.name in ("unknown", "silent") and not results.network):
        return LinkState(False, f"no route to {host}: the network is down")
    if results.name == "unknown":
        return LinkState(False, f"the name {host} is not known here: name resolution gives no address for it")
    if results.name == "silent":
        return LinkState(False, f"the name {host} cannot be looked up: name resolution does not answer")
    if results.accepts_connection is False:
        return LinkState(False, f"{host} does not answer")
    return LinkState(True)


def connect_target(bucket: str, endpoint: str | None, region: str) -> tuple[str, int]:
    """Host and port that requests to a bucket go to: the store's, or those of a proxy in between."""
    parts = urlsplit(endpoint_for(bucket, endpoint, region)[0])
    host = parts.hostname or ""
    proxy = getproxies().get("https") if parts.scheme == "https" and not proxy_bypass(host) else None
    if proxy:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host = parts.hostname or host
    return host, parts.port or (443 if parts.scheme == "https" else 80)


@dataclass
class ProbeSchedule:
    """When the store may be knocked at again: full jitter, and never more than `MAX_PROBES` times in a minute. Pure."""

    rng: random.Random = field(default_factory=random.Random)
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_PROBES))

    def record(self, now: float) -> None:
        """Once more."""
        self._times.append(now)

    def next(self, now: float, *, within: float = _PROBE_WAIT) -> float:
        """A random time in the next `within` seconds, or later if there were many."""
        oldest = self._times[0] + 60.0 if len(self._times) == MAX_PROBES else now
        return max(oldest, now + self.rng.uniform(0.0, within))


class LinkMonitor:
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
        self._state = LinkState(False, "the link check command has not answered yet") if command else LinkState(True)
        self._resolver = Resolver(host, port)
        self._addresses: list[Address] = self._resolver.literal
        self._schedule, self._command_answer = ProbeSchedule(), CommandAnswer(False)
        self._requested = self._completed = 0  # how often there was doubt, and up to which doubt it was judged
        self._must_probe = False  # whether the store has to answer before the link counts as up
        self._answered_at = self._commanded_at = float("-inf")
        self._next_check = 0.0
        self._routes: tuple[object, ...] = ()
        self.checked = False  # it has been judged at least once
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
        state = self._state
        return state.up, state.reason

    def wait_until_up(self, stop: threading.Event) -> bool:
        """Was it the link's fault? False: no, it is up. True: it was down, and is up again or `stop` was set."""
        request, was_down = self._request_check(), False
        while not self._end.is_set():
            completed, up = self._completed >= request, self._state.up
            if completed and up:
                break
            was_down |= not up
            # A look takes seconds at most; once the link is down, a second more or less is nothing.
            if stop.wait(1.0 if completed else 0.05):
                return True
        return was_down

    def _request_check(self) -> int:
        with self._wake:
            self._requested += 1
            self._wake.notify_all()
            return self._requested

    # The thread.

    def _run(self) -> None:
        while not self._end.is_set():
            requested = self._requested
            try:
                self._check_routes(requested != self._completed)
            except Exception:
                # The edge of a thread: whoever waits for a verdict must not wait for ever.
                log.exception("While looking at the link")
            self._completed, self.checked = requested, True
            with self._wake:
                if self._requested == requested and not self._end.is_set():
                    self._wake.wait(ROUTE_INTERVAL)

    def _check_routes(self, requested: bool) -> None:
        """At the routes always, at everything else where there is a reason to."""
        now, reachable = self._clock(), not self._addresses or has_route(self._addresses)
        before, self._routes = self._routes, (reachable, external_routes())
        if self._state.up:
            self._check_while_up(now, requested, reachable)
            return
        if not reachable and self._resolver.literal and before[:1] == (True,):
            self._next_check = now  # to say so costs nothing
        elif reachable and before not in ((), self._routes):
            self._next_check = min(self._next_check, self._schedule.next(now, within=ROUTE_INTERVAL))
        if now >= self._next_check:
            self._check(now)

    def _check_while_up(self, now: float, requested: bool, reachable: bool) -> None:
        self._must_probe |= not reachable or (requested and now - self._answered_at >= _FRESH)
        if self._must_probe or (self._command and now - self._commanded_at >= _COMMAND_UP):
            self._check(now)

    def _check(self, now: float) -> None:
        """Ask until somebody says no: what is near first, so that nothing is sent over a link that may not be used."""
        results = self._gather(now)
        state = assess_link(results, self._host)
        self._must_probe = not state.up and (self._must_probe or results.route is False)
        if results.command is not None and not results.command.allowed:
            self._next_check = self._commanded_at + _COMMAND_DOWN
        elif not state.up:
            self._next_check = self._schedule.next(self._clock())
        if state != self._state:
            self._state = state
            self._changed(state.up, state.reason)

    def _gather(self, now: float) -> ProbeResults:
        results = ProbeResults(network=bool(external_routes()))
        if self._resolver.literal and not has_route(self._resolver.literal):
            return replace(results, route=False)
        if self._command:
            results = replace(results, command=self._run_command(now))
        if not self._must_probe or (results.command is not None and not results.command.allowed):
            return results
        self._schedule.record(now)
        addresses = self._resolver.resolve(_NAME_TIME)
        if not addresses:
            return replace(results, name="silent" if addresses is None else "unknown")
        self._addresses = addresses
        if not has_route(addresses):
            return replace(results, name="known", route=False)
        answered = accepts_connection(addresses, _ANSWER_TIME)
        if answered:
            self._answered_at = self._clock()
        return replace(results, name="known", route=True, accepts_connection=answered)

    def _run_command(self, now: float) -> CommandAnswer:
        """What the command says now, or said a moment ago."""
        if now - self._commanded_at >= _COMMAND_DOWN:
            result = run_command(self._command, _COMMAND_TIME, self._end)
            text = "".join(result.first_lines[:1])[:_REASON_LIMIT]
            self._command_answer = CommandAnswer(result.succeeded, text if result.exit_status and text else str(result))
            self._commanded_at = self._clock()
        return self._command_answer
