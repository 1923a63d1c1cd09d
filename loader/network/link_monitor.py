"""Monitors whether the store can be reached, and why not: routes, name, connection, the airline's command.

One thread checks routes every two seconds, which sends nothing. It probes the store only if a check was requested or
the link is down: at most four times a minute, at random times so that a fleet does not probe together. A probe is a
name look-up and an empty connection. `assess_link` is pure.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal
from urllib.parse import urlsplit

from loader.command_runner import run_command
from loader.frozen import frozen
from loader.network.probes import Address, Resolver, accepts_connection, external_routes, has_route
from loader.s3.http.proxies import proxy_for
from loader.s3.http.urls import AddressingStyle, endpoint_for

log = logging.getLogger("loader")
ROUTE_INTERVAL: Final = 2.0  # seconds between two checks of the routes
MAX_PROBES: Final = 4  # in any minute while the link is down
_PROBE_WAIT: Final = 30.0  # seconds; limit of the random wait between two probes
_FRESH: Final = 5.0  # seconds for which an answer of the store stays valid
_ANSWER_TIME: Final = 5.0  # seconds for the store to accept a connection
_NAME_TIME: Final = 5.0  # seconds for name resolution
_COMMAND_TIME: Final = 10.0  # seconds for the link check command
_COMMAND_DOWN: Final = 15.0  # seconds between two runs of the command while it forbids the link
_COMMAND_UP: Final = 30.0  # seconds, while it permits the link
_REASON_LIMIT: Final = 200  # characters of the command's output


@frozen
class CommandAnswer:
    """Answer of the link check command: whether the link may be used, and its output."""

    allowed: bool
    text: str = ""


@frozen
class ProbeResults:
    """Results of the probes; None for a probe that did not run, because an earlier one failed.

    `network`: this machine has an external route. `name`: result of resolving the store's name. `route`: there is a
    route to the store's address. `accepts_connection`: the store accepted a connection.
    """

    network: bool = True
    command: CommandAnswer | None = None
    name: Literal["known", "unknown", "silent"] | None = None
    route: bool | None = None
    accepts_connection: bool | None = None


@frozen
class LinkState:
    """Whether the link is up. `reason`: a sentence for the aircraft's crew, empty while the link is up."""

    up: bool
    reason: str = ""


def assess_link(results: ProbeResults, host: str) -> LinkState:
    """Return whether the store at `host` may and can be used."""
    if results.command is not None and not results.command.allowed:
        return LinkState(False, f"the link check command says: {results.command.text or 'no'}")
    if results.route is False or (results.name in ("unknown", "silent") and not results.network):
        return LinkState(False, f"no route to {host}: the network is down")
    if results.name == "unknown":
        return LinkState(False, f"the name {host} is unknown: name resolution returns no address")
    if results.name == "silent":
        return LinkState(False, f"the name {host} cannot be looked up: name resolution does not answer")
    if results.accepts_connection is False:
        return LinkState(False, f"{host} does not answer")
    return LinkState(True)


def connect_target(bucket: str, endpoint: str | None, region: str, style: AddressingStyle = "auto") -> tuple[str, int]:
    """Return the host and port to connect to for a bucket: the store's, or those of the proxy in between."""
    base = endpoint_for(bucket, endpoint, region, style)[0]
    if proxy := proxy_for(base, os.environ):
        return proxy.host, proxy.port
    parts = urlsplit(base)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


@dataclass
class ProbeSchedule:
    """Times at which the store may be probed: full jitter, and at most MAX_PROBES in any minute. Pure."""

    rng: random.Random = field(default_factory=random.Random)
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_PROBES))

    def record(self, now: float) -> None:
        self._times.append(now)

    def next(self, now: float, *, within: float = _PROBE_WAIT) -> float:
        """Return a random time in the next `within` seconds, or later if the limit is reached."""
        oldest = self._times[0] + 60.0 if len(self._times) == MAX_PROBES else now
        return max(oldest, now + self.rng.uniform(0.0, within))


class LinkMonitor:
    """The link to one store, monitored by a daemon thread. Thread-safe."""

    def __init__(
        self,
        host: str,
        port: int,
        command: Sequence[str] = (),
        *,
        changed: Callable[[bool, str], None] = lambda up, reason: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`changed(up, reason)` is called, in the monitor's thread, when the link state or the reason changes.

        Without a command the link counts as up until a check fails; with one it is down until the command permits it.
        """
        self._host, self._command, self._changed, self._clock = host, tuple(command), changed, clock
        self._state = LinkState(False, "the link check command has not answered yet") if command else LinkState(True)
        self._resolver = Resolver(host, port)
        self._addresses: list[Address] = self._resolver.literal
        self._schedule, self._command_answer = ProbeSchedule(), CommandAnswer(False)
        self._requested = self._completed = 0  # number of the last requested, and of the last completed check
        self._must_probe = False  # the store has to answer before the link counts as up
        self._answered_at = self._commanded_at = float("-inf")
        self._next_check = 0.0
        self._routes: tuple[object, ...] = ()
        self.checked = False  # at least one check is complete
        self._wake, self._end = threading.Condition(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop, and end a command that is running. Does not wait."""
        self._end.set()
        with self._wake:
            self._wake.notify_all()

    def state(self) -> tuple[bool, str]:
        """Return whether the link is up, and the reason if it is down."""
        state = self._state
        return state.up, state.reason

    def wait_until_up(self, stop: threading.Event) -> bool:
        """Check the link after a network error, and wait while it is down.

        Returns False if the link is up, so that the error has another cause; True if it was down and is up again, or if
        `stop` was set.
        """
        request, was_down = self._request_check(), False
        while not self._end.is_set():
            completed, up = self._completed >= request, self._state.up
            if completed and up:
                break
            was_down |= not up
            # A check takes some seconds; while the link is down, a delay of a second does not matter.
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
            except BaseException:
                # Thread boundary: callers that wait for the check must not wait for ever.
                log.exception("Unexpected error while checking the link")
            self._completed, self.checked = requested, True
            with self._wake:
                if self._requested == requested and not self._end.is_set():
                    self._wake.wait(ROUTE_INTERVAL)

    def _check_routes(self, requested: bool) -> None:
        """Check the routes always, everything else only if there is a reason."""
        now, reachable = self._clock(), not self._addresses or has_route(self._addresses)
        before, self._routes = self._routes, (reachable, external_routes())
        if self._state.up:
            self._check_while_up(now, requested, reachable)
            return
        if not reachable and self._resolver.literal and before[:1] == (True,):
            self._next_check = now  # sends nothing: the check ends at the missing route
        elif reachable and before not in ((), self._routes):
            self._next_check = min(self._next_check, self._schedule.next(now, within=ROUTE_INTERVAL))
        if now >= self._next_check:
            self._check(now)

    def _check_while_up(self, now: float, requested: bool, reachable: bool) -> None:
        self._must_probe |= not reachable or (requested and now - self._answered_at >= _FRESH)
        if self._must_probe or (self._command and now - self._commanded_at >= _COMMAND_UP):
            self._check(now)

    def _check(self, now: float) -> None:
        """Run the probes until one fails: local ones first, so that nothing is sent over a forbidden link."""
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
        """Run the command and return its answer, or the last one if that is recent."""
        if now - self._commanded_at >= _COMMAND_DOWN:
            result = run_command(self._command, _COMMAND_TIME, self._end)
            text = "".join(result.first_lines[:1])[:_REASON_LIMIT]
            self._command_answer = CommandAnswer(result.succeeded, text if result.exit_status and text else str(result))
            self._commanded_at = self._clock()
        return self._command_answer
