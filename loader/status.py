"""What the ground is told: progress, errors and the heartbeat, written by one small thread beside the transfers.

Of every object only the newest value waits. A `.progress` leaves at most once per interval, only if it changed, and
its last value without waiting. When the status bucket is away the values wait and grow no older: what goes out when
it is back is what is true then. Nothing here ever slows or fails a transfer.

The heartbeat is also the lease of the tail (`loader.lease`): nothing else is sent unless the last one arrived, and if
the tail turns out to be another machine's, nothing at all any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
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
    progress_key,
    reportable,
)
from loader.crash import crash_point
from loader.errors import WorldError
from loader.lease import Lease, TakenError
from loader.outbox import Outbox
from loader.pace import Backoff

RECORD_AGE: Final = timedelta(days=1)
_LAST_CALL: Final = 0.7  # of the time for closing; the rest is for the last heartbeat
_PATIENCE: Final = 1_000_000_000  # tries: the writer never gives up, it only waits longer


class StatusWriter:
    """The thread and the words. All methods return at once, but `close`."""

    def __init__(
        self,
        bucket: Bucket,
        airline: str,
        tail: str,
        *,
        lease: Lease,
        interval: float,
        heartbeat: Callable[[], Heartbeat],
        heartbeat_interval: float = 60.0,
        complain: Callable[[str], None] = lambda text: None,
        taken: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`heartbeat` is asked for the loader's state when one is due; `complain` hears when the bucket is away.

        `taken` hears, once, that the tail is another machine's; then nothing is sent any more.
        """
        self._bucket, self._airline, self._tail = bucket, airline, tail
        self._heartbeat, self._beat_interval, self._complain, self._clock = (
            heartbeat,
            heartbeat_interval,
            complain,
            clock,
        )
        self._lease, self._taken = lease, taken
        self.judged = threading.Event()
        self._outbox = Outbox(interval)
        self._noted: dict[tuple[str, str], int] = {}
        self._beat_due, self._last_call = 0.0, 0.0
        self._believed = ""
        self._wake = threading.Condition()
        self._wake_at = 0.0
        self._held = self._told = self._closing = self._ended = self._lost = False
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
        """Send what is left for at most `timeout` seconds, the heartbeat last, and end. True if all was sent."""
        with self._wake:
            self._closing, self._last_call = True, self._clock() + _LAST_CALL * timeout
            self._beat_due = 0.0
            self._outbox.hurry()
            self._wake.notify()
            self._wake.wait_for(lambda: self._ended, timeout)
            return self._ended and not self._lost

    def _post(self, key: str, body: bytes | None, *, urgent: bool) -> None:
        with self._wake:
            due = self._outbox.post(key, body, self._clock(), urgent=urgent)
            # Waking the thread for what is not due would only take the processor from the transfers.
            if self._held and due is not None and due < self._wake_at:
                self._wake_at = due
                self._wake.notify()

    def _run(self) -> None:
        try:
            while self._round():
                pass
        except TakenError as error:
            self._lost = True
            self._taken(str(error))
        finally:
            self.judged.set()
            with self._wake:
                self._ended = True
                self._wake.notify_all()

    def _round(self) -> bool:
        """Wait for something to be due, send it; False at the end."""
        with self._wake:
            now = self._clock()
            # The last heartbeat gives the tail away, so nothing may follow it.
            last = self._closing and (not self._outbox or now >= self._last_call)
            if last and self._told:
                self._lost |= bool(self._outbox)
                return False
            keys = self._outbox.due(now) if self._held and not last else []
            beat_at = self._beat_due if last else max(self._beat_due, self._outbox.paused_until)
            beat = beat_at <= now and not (self._closing and keys)
            if not keys and not beat:
                self._wait(now, beat_at)
                return True
        if beat:
            self._send_heartbeat(last)
        for key in keys:
            if not self._held or not self._send(key) or self._interrupted():
                break
        return True

    def _wait(self, now: float, beat_at: float) -> None:
        """Until a heartbeat or a value is due, or something changes."""
        due = [beat_at, now + 3600.0]
        if self._held:
            due.append(self._outbox.next_due() or beat_at)
        if self._closing and now < self._last_call:
            due.append(self._last_call)
        self._wake_at = min(due)
        self._wake.wait(max(0.0, self._wake_at - now))

    def _interrupted(self) -> bool:
        """Whether a heartbeat must not wait for more values."""
        now = self._clock()
        return now >= self._last_call if self._closing else now >= self._beat_due

    def _send_heartbeat(self, last: bool) -> None:
        with self._wake:
            self._beat_due = self._clock() + self._beat_interval
        try:
            heartbeat = self._lease.signed(self._heartbeat(), ended=last)
            replaced = self._lease.write(build_heartbeat(heartbeat))
        except WorldError as error:
            until = self._trouble(error)
            with self._wake:
                self._held, self._beat_due = False, until
                if self._closing and error.permanent:
                    self._lost = self._told = True
                    self._last_call = 0.0
        else:
            self._backoff.reset()
            with self._wake:
                self._held, self._told = True, last
                # Whether the bucket still is as we left it: then our last heartbeat is still there.
                if not replaced or self._believed not in ("", replaced):
                    self._outbox.forget(self._clock())
                self._believed = ""
        self.judged.set()

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
            if self._closing and error.permanent:
                self._lost = True
                self._outbox.drop(key)
            elif not alone:
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
        return {"at": now.isoformat(), "bucket": self._bucket.name, "heartbeat": self._lease.etag, "known": known}

    def believe(self, record: Mapping[str, object], now: datetime) -> None:
        """Take up the record of an orderly end, unless it is of another bucket or too old; call before `start`."""
        at, known, etag = record.get("at"), record.get("known"), record.get("heartbeat")
        if not isinstance(at, str) or not isinstance(known, dict) or not isinstance(etag, str):
            return
        try:
            age = now - datetime.fromisoformat(at).astimezone(UTC)
        except ValueError:
            return
        if record.get("bucket") == self._bucket.name and etag and timedelta(0) <= age <= RECORD_AGE:
            own = f"{self._airline}/{self._tail}/"
            bodies = {key: None if body is None else str(body).encode() for key, body in known.items()}
            self._outbox.known.update({key: body for key, body in bodies.items() if key.startswith(own)})
            self._believed = etag
            self._lease.know(etag)
