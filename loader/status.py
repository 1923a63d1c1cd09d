"""What the ground is told: progress, errors and the heartbeat, written by one small thread beside the transfers.

Of every object only the newest value waits. A `.progress` leaves at most once per interval, only if it changed, and
its last value without waiting. When the status bucket is away the values wait and grow no older: what goes out when
it is back is what is true then. Nothing here ever slows or fails a transfer.
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
    heartbeat_key,
    progress_key,
    reportable,
)
from loader.crash import crash_point
from loader.errors import WorldError
from loader.outbox import Outbox
from loader.pace import Backoff

RECORD_AGE: Final = timedelta(days=1)
_PATIENCE: Final = 1_000_000_000  # tries: the writer never gives up, it only waits longer


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
        self._beat_due, self._beat_etag = 0.0, ""
        self._believed = False
        self._wake = threading.Condition()
        self._wake_at = 0.0
        self._told = self._closing = self._ended = self._lost = False
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
            self._told, self._beat_due = False, 0.0
            self._wake.notify()

    def close(self, timeout: float) -> bool:
        """Send what is left for at most `timeout` seconds, the heartbeat too, and end. True if all was sent."""
        with self._wake:
            self._closing = True
            self._told, self._beat_due = False, 0.0
            self._outbox.hurry()
            self._wake.notify()
            self._wake.wait_for(lambda: self._ended, timeout)
            return self._ended and not self._lost

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
                if self._closing and not self._outbox and self._told:
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
            self._told, self._beat_due = True, self._clock() + self._beat_interval
        try:
            self._beat_etag = self._put_heartbeat()
        except WorldError as error:
            until = self._trouble(error)
            with self._wake:
                hopeless = self._closing and error.permanent
                self._lost |= hopeless
                self._told, self._beat_due = hopeless, until
            return False
        self._backoff.reset()
        return True

    def _put_heartbeat(self) -> str:
        key, body = heartbeat_key(self._airline, self._tail), build_heartbeat(self._heartbeat())
        if self._believed:
            # Whether the bucket still is as the last run left it: then our last heartbeat is still there.
            try:
                etag = self._bucket.put(key, body, if_match=self._beat_etag)
                self._believed = False
                return etag
            except WorldError as error:
                if not error.permanent:
                    raise
            with self._wake:
                self._believed = False
                self._outbox.forget(self._clock())
        return self._bucket.put(key, body)

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
        return {"at": now.isoformat(), "bucket": self._bucket.name, "heartbeat": self._beat_etag, "known": known}

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
            self._believed, self._beat_etag = True, etag
