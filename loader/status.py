"""What the ground is told: progress, errors and the heartbeat, written by one small thread beside the transfers.

Of every object only the newest value waits. A `.progress` leaves at most once per interval, only if it changed, and
its last value without waiting. When the status bucket is away the values wait and grow no older: what goes out when
it is back is what is true then. Nothing here ever slows or fails a transfer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from loader.bucket import Bucket
from loader.contract import (
    Heartbeat,
    build_error,
    build_heartbeat,
    build_progress,
    campaign_error_key,
    error_key,
    heartbeat_key,
    progress_key,
    reportable,
)
from loader.crash import crash_point
from loader.errors import WorldError
from loader.pace import Backoff

RECORD_AGE: Final = timedelta(days=1)
_PATIENCE: Final = 1_000_000_000  # tries: the writer never gives up, it only waits longer


@dataclass(slots=True)
class _Letter:
    body: bytes | None  # None: the object is to be removed
    due: float
    not_before: float = 0.0
    urgent: bool = False


class Outbox:
    """What is still to be sent and what the bucket is known to hold. No thread, no clock, no network of its own."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._waiting: dict[str, _Letter] = {}
        self._sent_at: dict[str, float] = {}
        self.paused_until = 0.0
        self.known: dict[str, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def post(self, key: str, body: bytes | None, now: float, *, urgent: bool = False) -> float | None:
        """Let `body` be what is sent next for `key`; returns when it is due, None if there is nothing to send."""
        if key in self.known and self.known[key] == body:
            self._waiting.pop(key, None)
            return None
        due = now if urgent else self._sent_at.get(key, now - self._interval) + self._interval
        letter = self._waiting.setdefault(key, _Letter(body, due))
        letter.body, letter.due, letter.urgent = body, max(due, letter.not_before), urgent
        return max(letter.due, self.paused_until)

    def due(self, now: float) -> list[str]:
        """Keys to be sent now: values before removals, so that an error goes only after the success is told."""
        if now < self.paused_until:
            return []
        keys = [key for key, letter in self._waiting.items() if letter.due <= now]
        return sorted(keys, key=lambda key: self._waiting[key].body is None)

    def next_due(self) -> float | None:
        """When the next one is due."""
        soonest = min((letter.due for letter in self._waiting.values()), default=None)
        return None if soonest is None else max(soonest, self.paused_until)

    def body(self, key: str) -> bytes | None:
        """What is to be sent, as it is now. Raises KeyError if it was taken back."""
        return self._waiting[key].body

    def sent(self, key: str, body: bytes | None, now: float) -> None:
        """It arrived. If a newer value came meanwhile, that one waits for its turn."""
        self.known[key] = body
        self._sent_at[key] = now
        letter = self._waiting.get(key)
        if letter is not None and letter.body == body:
            del self._waiting[key]
        elif letter is not None and not letter.urgent:
            letter.due = max(letter.due, now + self._interval)

    def failed(self, key: str, until: float) -> None:
        """It did not arrive, or nobody knows: what the bucket holds is not known, and this key waits."""
        self.known.pop(key, None)
        if key in self._waiting:
            self._waiting[key].due = self._waiting[key].not_before = until

    def hurry(self) -> None:
        """The loader ends: everything is due."""
        self.paused_until = 0.0
        for letter in self._waiting.values():
            letter.due = letter.not_before = 0.0


class StatusWriter:
    """The thread and the words. All methods return at once, but `close`."""

    def __init__(
        self,
        bucket: Bucket,
        airline: str,
        tail: str,
        *,
        interval: float,
        heartbeat: Callable[[], Heartbeat],
        heartbeat_interval: float = 60.0,
        complain: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`heartbeat` is asked for the loader's state when one is due; `complain` hears when the bucket is away."""
        self._bucket, self._airline, self._tail = bucket, airline, tail
        self._heartbeat, self._beat_interval, self._complain, self._clock = (
            heartbeat,
            heartbeat_interval,
            complain,
            clock,
        )
        self._outbox = Outbox(interval)
        self._noted: dict[tuple[str, str], int] = {}
        self._beat_due = 0.0
        self._wake = threading.Condition()
        self._wake_at = 0.0
        self._closing = self._ended = False
        self._backoff = Backoff(_PATIENCE, 1.0, 60.0)
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """From now on things are sent."""
        self._thread.start()

    def progress(self, campaign: str, content: str, done: int, size: int, *, final: bool = False) -> None:
        """So many bytes are held. `final`: the item is whole, checked and durable under its final name."""
        value = reportable(done, size, final=final)
        if self._noted.get((campaign, content)) == value:
            return
        self._noted[campaign, content] = value
        key = progress_key(self._airline, self._tail, campaign, content)
        self._post(key, build_progress(value), urgent=final)

    def error(self, campaign: str, content: str, code: str, text: str) -> None:
        """The item has failed, or is being tried again."""
        self._post(error_key(self._airline, self._tail, campaign, content), build_error(code, text), urgent=True)

    def no_error(self, campaign: str, content: str) -> None:
        """The item is well."""
        self._post(error_key(self._airline, self._tail, campaign, content), None, urgent=True)

    def campaign_error(self, campaign: str, code: str, text: str) -> None:
        """The campaign as a whole cannot be loaded."""
        self._post(campaign_error_key(self._airline, self._tail, campaign), build_error(code, text), urgent=True)

    def no_campaign_error(self, campaign: str) -> None:
        """The campaign as a whole is well."""
        self._post(campaign_error_key(self._airline, self._tail, campaign), None, urgent=True)

    def beat(self) -> None:
        """The loader's state changed: send a heartbeat now."""
        with self._wake:
            self._beat_due = 0.0
            self._wake.notify()

    def close(self, timeout: float) -> bool:
        """Send what is left for at most `timeout` seconds, the heartbeat too, and end. True if all was sent."""
        with self._wake:
            self._closing = True
            self._beat_due = 0.0
            self._outbox.hurry()
            self._wake.notify()
            self._wake.wait_for(lambda: self._ended, timeout)
            return self._idle()

    def _idle(self) -> bool:
        return not self._outbox and self._beat_due > 0.0

    def _post(self, key: str, body: bytes | None, *, urgent: bool) -> None:
        with self._wake:
            due = self._outbox.post(key, body, self._clock(), urgent=urgent)
            # Waking the thread for what is not due would only take the processor from the transfers.
            if due is not None and due < self._wake_at:
                self._wake_at = due
                self._wake.notify()

    def _run(self) -> None:
        try:
            while self._round():
                pass
        finally:
            with self._wake:
                self._ended = True
                self._wake.notify_all()

    def _round(self) -> bool:
        """Wait for something to be due, send it; False at the end."""
        with self._wake:
            now = self._clock()
            keys = self._outbox.due(now)
            beat = max(self._beat_due, self._outbox.paused_until) <= now
            if not keys and not beat:
                if self._closing and self._idle():
                    return False
                self._wake_at = min(
                    self._outbox.next_due() or now + 3600.0, max(self._beat_due, self._outbox.paused_until)
                )
                self._wake.wait(max(0.0, self._wake_at - now))
                return True
        if beat and not self._send_heartbeat():
            return True
        for key in keys:
            if not self._send(key) or self._beat_due <= self._clock():
                break
        return True

    def _send_heartbeat(self) -> bool:
        with self._wake:
            self._beat_due = self._clock() + self._beat_interval
        try:
            self._bucket.put(heartbeat_key(self._airline, self._tail), build_heartbeat(self._heartbeat()))
        except WorldError as error:
            until = self._trouble(error)
            with self._wake:
                self._beat_due = until
            return False
        self._backoff.reset()
        return True

    def _send(self, key: str) -> bool:
        """Send the newest value of `key`; False if the store is in trouble and others had better wait, too."""
        with self._wake:
            try:
                body = self._outbox.body(key)
            except KeyError:
                return True
            # Until it has arrived nobody knows what the bucket holds.
            self._outbox.known.pop(key, None)
        try:
            if body is None:
                self._bucket.delete(key)
            else:
                self._bucket.put(key, body)
        except WorldError as error:
            return self._postpone(key, error)
        with self._wake:
            self._outbox.sent(key, body, self._clock())
        self._backoff.reset()
        crash_point("error-removed" if body is None else "progress-sent")
        return True

    def _postpone(self, key: str, error: WorldError) -> bool:
        until = self._trouble(error)
        # One key that may not be written must not hold up the others; a store that is away does.
        alone = error.code == "FORBIDDEN"
        with self._wake:
            self._outbox.failed(key, until if alone else 0.0)
            if not alone:
                self._outbox.paused_until = until
        return alone

    def _trouble(self, error: WorldError) -> float:
        if self._backoff.failed == 0:
            self._complain(f"The status bucket cannot be told: {error.code}: {error}")
        wait = self._backoff.again(error.retry_after) or 60.0
        return self._clock() + (min(wait, 1.0) if self._closing else wait)

    # A record of what was sent, so that the next run need not say it again.

    def record(self, now: datetime) -> dict[str, object]:
        """What the bucket is known to hold; call after `close`."""
        with self._wake:
            known = {key: None if body is None else body.decode() for key, body in self._outbox.known.items()}
        return {"at": now.isoformat(), "bucket": self._bucket.name, "known": known}

    def believe(self, record: Mapping[str, object], now: datetime) -> None:
        """Take up the record of an orderly end, unless it is of another bucket or too old; call before `start`."""
        at, known = record.get("at"), record.get("known")
        if record.get("bucket") != self._bucket.name or not isinstance(at, str) or not isinstance(known, dict):
            return
        try:
            age = now - datetime.fromisoformat(at).astimezone(UTC)
        except ValueError:
            return
        if timedelta(0) <= age <= RECORD_AGE:
            own = f"{self._airline}/{self._tail}/"
            self._outbox.known.update(
                {
                    key: None if body is None else str(body).encode()
                    for key, body in known.items()
                    if key.startswith(own)
                }
            )
