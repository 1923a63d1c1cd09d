"""Reports progress, errors and the heartbeat to the status bucket, in a small thread beside the transfers.

Of every object only the newest value waits (`loader.reporting.outbox`). A `.progress` is sent at most once per
interval, only if it changed, and its last value at once. While the status bucket is unreachable, values wait and are
replaced by newer ones. Nothing here slows or fails a transfer.

Where writes are slow and many are due, and at the end, a few helper threads write at the same time.

The heartbeat is also the lease of the tail (`loader.reporting.lease`): nothing else is sent unless the last one
arrived, nothing is in flight while it is sent, and once another machine holds the tail, nothing is sent any more.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from loader.contract.heartbeat import Heartbeat, build_heartbeat
from loader.contract.item_reports import build_error, build_progress, progress_to_report
from loader.contract.keys import campaign_error_key, error_key, parse_status_key, progress_key
from loader.errors import BadName, Code, WorldError
from loader.failpoints import failpoint
from loader.reporting.lease import TailLease, TailLeaseLost
from loader.reporting.outbox import Outbox, PendingWrite
from loader.s3.auth.redaction import redact
from loader.s3.interface import Bucket
from loader.s3.retry import Backoff

log = logging.getLogger("loader")
CACHE_AGE: Final = timedelta(days=1)
_LAST_CALL: Final = 0.7  # of the time for closing; the rest is for the last heartbeat
MAX_HELPERS: Final = 7  # beside the thread itself
_SLOW_WRITE: Final = (
    0.02  # seconds for one write; where it takes less, help would only take the processor from transfers
)
_LINK_WAIT: Final = 5.0  # seconds between two looks whether the link is back, should nobody say so


class StatusReporter:
    """The thread and the words. All methods return at once, but `close`."""

    def __init__(
        self,
        bucket: Bucket,
        airline: str,
        tail: str,
        *,
        lease: TailLease,
        interval: float,
        heartbeat: Callable[[], Heartbeat],
        heartbeat_interval: float = 60.0,
        on_unreachable: Callable[[str], None] = lambda text: None,
        on_lease_lost: Callable[[str], None] = lambda text: None,
        link_up: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`heartbeat` is asked for the loader's state when one is due; `on_unreachable` hears when the bucket is away.

        `on_lease_lost` hears, once, that the tail is another machine's; then nothing is sent any more. While `link_up`
        says no, nothing is tried.
        """
        self._bucket, self._airline, self._tail = bucket, airline, tail
        self._heartbeat, self._heartbeat_interval, self._on_unreachable, self._clock = (
            heartbeat,
            heartbeat_interval,
            on_unreachable,
            clock,
        )
        self._lease, self._on_lease_lost, self._link_up = lease, on_lease_lost, link_up
        self.lease_checked = threading.Event()
        self._outbox = Outbox(interval)
        self._last_values: dict[tuple[str, str], int] = {}
        self._heartbeat_due, self._last_call = 0.0, 0.0
        self._imported_etag = ""
        self._wake = threading.Condition()
        self._wake_at = 0.0
        self._has_lease = self._final_sent = self._closing = self._ended = self._incomplete = (
            self._sending_heartbeat
        ) = False
        self._has_listing = False  # what the bucket holds was asked for, or believed
        self._helpers, self._last_write_time = 0, 0.0
        self._backoff = Backoff(None, 1.0, 60.0)
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """From now on things are sent."""
        self._thread.start()

    def progress(self, campaign: str, content: str, bytes_done: int, size: int, *, final: bool = False) -> None:
        """So many bytes are held. `final`: the item is whole, checked and durable under its final name."""
        value = progress_to_report(bytes_done, size, final=final)
        if self._last_values.get((campaign, content)) == value:
            return
        self._last_values[campaign, content] = value
        key = progress_key(self._airline, self._tail, campaign, content)
        self._post(key, build_progress(value), urgent=final)

    def error(self, campaign: str, content: str, code: Code, text: str) -> None:
        """The item has failed, or is being tried again."""
        key = error_key(self._airline, self._tail, campaign, content)
        self._post(key, build_error(code, redact(text)), urgent=True)

    def clear_error(self, campaign: str, content: str) -> None:
        """The item is well."""
        self._post(error_key(self._airline, self._tail, campaign, content), None, urgent=True)

    def campaign_error(self, campaign: str, code: Code, text: str) -> None:
        """The campaign as a whole cannot be loaded."""
        key = campaign_error_key(self._airline, self._tail, campaign)
        self._post(key, build_error(code, redact(text)), urgent=True)

    def clear_campaign_error(self, campaign: str) -> None:
        """The campaign as a whole is well."""
        self._post(campaign_error_key(self._airline, self._tail, campaign), None, urgent=True)

    @property
    def has_listing(self) -> bool:
        """Whether what the bucket holds was asked for, or is believed from an earlier run."""
        return self._has_listing

    def reported_items(self) -> dict[str, set[str]]:
        """The items of each campaign of which the bucket is known to hold a report."""
        with self._wake:
            keys = self._outbox.existing_keys()
        found: dict[str, set[str]] = {}
        for key in keys:
            with contextlib.suppress(BadName):
                report = parse_status_key(key)
                if report and report.content:
                    found.setdefault(report.campaign, set()).add(report.content)
        return found

    def remove_items(self, campaign: str, contents: Collection[str]) -> None:
        """These items are not aboard any more: nothing of them is left to be told."""
        for content in contents:
            self._last_values.pop((campaign, content), None)
            self._post(progress_key(self._airline, self._tail, campaign, content), None, urgent=True)
            self.clear_error(campaign, content)

    def request_heartbeat(self) -> None:
        """The loader's state changed: send a heartbeat now."""
        with self._wake:
            self._heartbeat_due = 0.0
            self._wake.notify()

    def link_restored(self) -> None:
        """What waited for the link goes out now."""
        with self._wake:
            self._outbox.paused_until = self._heartbeat_due = 0.0
            self._backoff.reset()
            self._wake.notify_all()

    def close(self, timeout: float) -> bool:
        """Send what is left for at most `timeout` seconds, the heartbeat last, and end. True if all was sent."""
        with self._wake:
            self._closing, self._last_call = True, self._clock() + _LAST_CALL * timeout
            self._heartbeat_due = 0.0
            self._outbox.flush_now()
            self._wake.notify()
            self._wake.wait_for(lambda: self._ended, timeout)
            return self._ended and not self._incomplete

    def _post(self, key: str, body: bytes | None, *, urgent: bool) -> None:
        with self._wake:
            due = self._outbox.post(key, body, self._clock(), urgent=urgent)
            # Waking the thread for what is not due would only take the processor from the transfers.
            if self._has_lease and due is not None and due < self._wake_at:
                self._wake_at = due
                self._wake.notify()

    def _run(self) -> None:
        try:
            while self._send_next():
                pass
        except TailLeaseLost as error:
            self._incomplete = True
            self._on_lease_lost(str(error))
        except BaseException:
            self._incomplete = True  # what still waits will not be sent
            raise
        finally:
            self.lease_checked.set()
            with self._wake:
                self._ended = True
                self._wake.notify_all()

    def _send_next(self) -> bool:
        """Wait for something to be due, send it; False at the end."""
        letter: PendingWrite | None = None
        with self._wake:
            now = self._clock()
            # The last heartbeat gives the tail away, so nothing may follow it.
            last = self._closing and (not self._outbox or now >= self._last_call)
            if last and self._final_sent:
                self._incomplete |= bool(self._outbox)
                return False
            if not self._link_up():
                return self._await_link()
            beat_at = self._heartbeat_due if last else max(self._heartbeat_due, self._outbox.paused_until)
            first_the_rest = self._closing and self._has_lease and self._outbox and not last
            self._sending_heartbeat = beat_at <= now and not first_the_rest
            if not self._sending_heartbeat:
                letter = self._take(now)
            if letter is None and (not self._sending_heartbeat or self._outbox.in_flight):
                self._wait(now, beat_at, last)
                return True
        if letter is None:
            self._send_heartbeat(last)
        else:
            self._send(*letter)
        return True

    def _await_link(self) -> bool:
        if self._closing:
            self._incomplete = True
            return False
        # Nothing was tried meanwhile, so there is nothing to wait for once it is back.
        self._outbox.paused_until = self._heartbeat_due = 0.0
        self._backoff.reset()
        self._wake.wait(_LINK_WAIT)
        return True

    def _wait(self, now: float, beat_at: float, last: bool) -> None:
        """Until a heartbeat or a value is due, something arrived, or something changes."""
        due = [now + 3600.0]
        if not self._sending_heartbeat:
            due.append(beat_at)
        if self._has_lease and not last and not self._sending_heartbeat:
            due.append(self._outbox.next_due(now) or beat_at)
        if self._closing and now < self._last_call:
            due.append(self._last_call)
        self._wake_at = min(due)
        self._wake.wait(max(0.0, self._wake_at - now))

    def _take(self, now: float) -> PendingWrite | None:
        """What may be sent now, by whoever asks; where more is due and help is worth it, a helper is called."""
        if not self._has_lease or self._sending_heartbeat or (self._closing and now >= self._last_call):
            return None
        letter = self._outbox.take(now)
        if (
            letter is not None
            and self._helpers < MAX_HELPERS
            and (self._closing or self._last_write_time > _SLOW_WRITE)
        ):
            more = self._outbox.next_due(now)
            # A store in trouble is asked by one.
            if more is not None and more <= now and not self._backoff.failures:
                self._helpers += 1
                threading.Thread(target=self._help, name="status helper", daemon=True).start()
        return letter

    def _help(self) -> None:
        """A helper: sends while there is something to send."""
        while True:
            with self._wake:
                now = self._clock()
                # A heartbeat that is due must not wait for more values.
                due = not self._closing and now >= self._heartbeat_due
                letter = None if due or self._backoff.failures or self._incomplete else self._take(now)
                if letter is None:
                    self._helpers -= 1
                    return
            self._send(*letter)

    def _send_heartbeat(self, last: bool) -> None:
        with self._wake:
            self._heartbeat_due = self._clock() + self._heartbeat_interval
        try:
            heartbeat = self._lease.with_holder(self._heartbeat(), ended=last)
            replaced = self._lease.write(build_heartbeat(heartbeat))
        except WorldError as error:
            self._heartbeat_failed(error)
        except TailLeaseLost:
            raise
        except Exception:
            # The edge of a thread: nobody would hear of this tail any more.
            log.exception("While writing the heartbeat")
            self._heartbeat_failed(WorldError(Code.INTERNAL))
        else:
            with self._wake:
                self._backoff.reset()
                self._has_lease, self._final_sent = True, last
                # Whether the bucket still is as we left it: then our last heartbeat is still there.
                new = not replaced or self._imported_etag not in ("", replaced)
                if new:
                    self._outbox.reset(self._clock())
                unsure = new or not (self._has_listing or self._imported_etag)
                self._imported_etag, self._has_listing = "", True
            if unsure and not last:
                self._list()
        self.lease_checked.set()

    def _list(self) -> None:
        """Ask once what lies there: what is as it should be need not be told, what is not there not removed."""
        try:
            listed = {found.key: found.etag for found in self._bucket.list(f"{self._airline}/{self._tail}/")}
        except WorldError:  # not every key may list; then everything is told
            return
        except Exception:
            # The edge of a thread: reports do not depend on the listing.
            log.exception("While listing the status bucket")
            return
        with self._wake:
            self._outbox.set_listing(listed)

    def _heartbeat_failed(self, error: WorldError) -> None:
        """The heartbeat did not arrive, so nothing else may be sent."""
        until = self._retry_at(error)
        with self._wake:
            self._has_lease, self._heartbeat_due = False, until
            if self._closing and error.permanent:
                self._incomplete = self._final_sent = True
                self._last_call = 0.0

    def _send(self, key: str, body: bytes | None) -> None:
        began = self._clock()
        try:
            if body is None:
                self._bucket.delete(key)
            else:
                self._bucket.put(key, body)
        except WorldError as error:
            # One key that may not be written must not hold up the others; a store that is away does.
            self._postpone(key, error, alone=error.code == Code.FORBIDDEN)
            return
        except Exception:
            # The edge of a thread: what is not understood about one key must not silence all others.
            log.exception("While telling the status bucket %s", key)
            self._postpone(key, WorldError(Code.INTERNAL), alone=True)
            return
        with self._wake:
            now = self._clock()
            self._last_write_time = now - began
            self._outbox.sent(key, body, now)
            self._backoff.reset()
            self._wake.notify_all()
        failpoint("error-removed" if body is None else "progress-sent")

    def _postpone(self, key: str, error: WorldError, *, alone: bool) -> None:
        with self._wake:
            known = not alone and self._clock() < self._outbox.paused_until
        # Of several that were under way when the store went away, one is enough to count.
        until = self._outbox.paused_until if known else self._retry_at(error)
        with self._wake:
            self._outbox.failed(key, until if alone else 0.0)
            if self._closing and error.permanent:
                self._incomplete = True
                self._outbox.discard(key)
            elif not alone:
                self._outbox.paused_until = until
            self._wake.notify_all()

    def _retry_at(self, error: WorldError) -> float:
        with self._wake:
            first = self._backoff.failures == 0
            wait = self._backoff.next_delay(error.retry_after)
            until = self._clock() + (min(wait, 1.0) if self._closing else wait)
        if first:
            self._on_unreachable(f"The status bucket cannot be told: {error.code}: {error}")
        return until

    # A record of what was sent, so that the next run need not say it again.

    def export_state(self, now: datetime) -> dict[str, object]:
        """What the bucket is known to hold; call after `close`."""
        with self._wake:
            known = {key: None if body is None else body.decode() for key, body in self._outbox.known.items()}
        return {"at": now.isoformat(), "bucket": self._bucket.name, "heartbeat": self._lease.etag, "known": known}

    def import_state(self, record: Mapping[str, object], now: datetime) -> None:
        """Take up the record of an orderly end, unless it is of another bucket or too old; call before `start`."""
        at, known, etag = record.get("at"), record.get("known"), record.get("heartbeat")
        if not isinstance(at, str) or not isinstance(known, dict) or not isinstance(etag, str):
            return
        try:
            age = now - datetime.fromisoformat(at).astimezone(UTC)
        except ValueError:
            return
        if record.get("bucket") == self._bucket.name and etag and timedelta(0) <= age <= CACHE_AGE:
            own = f"{self._airline}/{self._tail}/"
            bodies = {key: None if body is None else str(body).encode() for key, body in known.items()}
            self._outbox.known.update({key: body for key, body in bodies.items() if key.startswith(own)})
            self._imported_etag = etag
            self._lease.add_own_etag(etag)
