"""LOADER_ON_LOADED: the operator's command, run once an item, and once a campaign, is durable. One at a time.

It is run at least once for everything that `loader.owed` finds owed, after a kill too. Its failure is an error of that
item (or campaign), and it is run again at a later look, as other failures are. Never slows a transfer: one thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from loader.command_runner import Outcome, run
from loader.errors import WorldError
from loader.owed import Owed
from loader.planning.failure_history import BARRED_FOR

log = logging.getLogger("loader")
Key = tuple[str, str, str]
_OUTPUT_LIMIT: Final = 200  # characters of the command's last words that the ground is told


class Hooks:
    """The thread and what waits for it: nothing twice, so never more than there are items and campaigns aboard."""

    def __init__(
        self,
        command: Sequence[str],
        timeout: float,
        done: Callable[[Owed, WorldError | None], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`done` hears on the thread of the hooks what came of each run; `timeout` in seconds. Nothing runs yet."""
        self._command, self._timeout, self._done, self._clock = tuple(command), timeout, done, clock
        self._waiting: dict[Key, Owed] = {}
        self._running: Key | None = None
        self._barred: dict[Key, tuple[Owed, float]] = {}
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, owed: Collection[Owed]) -> int:
        """Run the command for these, in order; how many of them are new here. Returns at once.

        What waits or runs already is not taken twice, and what failed lately not yet; without a command, nothing is.
        """
        if not self._command:
            return 0
        with self._changed:
            new = [one for one in owed if self._takes(one)]
            self._waiting.update({one.key: one for one in new})
            if new and self._thread is None and not self._stop.is_set():
                # A daemon: a command that cannot be ended must not keep the loader from ending.
                self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return len(new)

    def look(self) -> int:
        """Run it again where it failed long enough ago; call it at each look. How many there are."""
        with self._changed:
            now = self._clock()
            ripe = [owed for owed, until in self._barred.values() if until <= now]
        return self.submit(ripe)

    @property
    def failed(self) -> list[Owed]:
        """For which it failed and was not yet run again."""
        with self._changed:
            return [owed for owed, _ in self._barred.values()]

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        with self._changed:
            return not self._waiting and self._running is None

    def close(self, seconds: float) -> None:
        """End a running command, run no other: what was not done stays owed. Waits for at most `seconds`."""
        self._stop.set()
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)

    def _takes(self, owed: Owed) -> bool:
        if owed.key in self._waiting or owed.key == self._running:
            return False
        barred = self._barred.get(owed.key)
        return barred is None or barred[0].mark != owed.mark or barred[1] <= self._clock()

    def _run(self) -> None:
        while (owed := self._next()) is not None:
            try:
                self._one(owed)
            except Exception:
                # The edge of a thread: the other items' commands are run all the same.
                log.exception("While running the command for %s", owed)
            with self._changed:
                self._running = None
                self._changed.notify_all()

    def _next(self) -> Owed | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stop.is_set())
            if self._stop.is_set():
                return None
            key = next(iter(self._waiting))
            self._running = key
            return self._waiting.pop(key)

    def _one(self, owed: Owed) -> None:
        if not owed.still_there():
            return
        outcome = run([*self._command, str(owed.path), owed.campaign, owed.content], self._timeout, self._stop)
        log.info("%s ran for %s: %s", self._command[0], owed, _told(outcome))
        if outcome.stopped:
            return
        error = None if outcome.good else WorldError("HOOK_FAILED", _sentence(outcome))
        with self._changed:
            self._barred.pop(owed.key, None)
            if error is not None:
                self._barred[owed.key] = (owed, self._clock() + BARRED_FOR)
        self._done(owed, error)


def _sentence(outcome: Outcome) -> str:
    last = "".join(outcome.last_lines[-1:])[:_OUTPUT_LIMIT]
    return f"the command to be run after loading: {outcome}" + (f": {last}" if last else "")


def _told(outcome: Outcome) -> str:
    """How it ended and what it said, for the log of the aircraft."""
    first, last = (" | ".join(lines) for lines in (outcome.first_lines, outcome.last_lines))
    return f"{'stopped' if outcome.stopped else outcome}; {first}" + (f" … {last}" if last != first else "")
