"""Sends reports and heartbeats to the status bucket, in a thread of its own and a few helpers where writes are slow.

The heartbeat is also the lease of the tail (`loader.reporting.lease`): nothing else is sent unless the last one
arrived, nothing is in flight while one is sent, and once another machine holds the tail, nothing is sent any more.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from loader.contract.heartbeat import build_heartbeat
from loader.errors import Code, WorldError
from loader.failpoints import failpoint
from loader.reporting.context import ReportingContext
from loader.reporting.lease import TailLeaseLost
from loader.reporting.outbox import Outbox, PendingWrite
from loader.reporting.report_cache import ReportCache
from loader.s3.retry import Backoff, delay

log = logging.getLogger("loader")
MAX_HELPERS: Final = 7  # in addition to the thread itself
_REPORTS_SHARE: Final = 0.7  # of the time for closing; the rest is for the last heartbeat
_SLOW_WRITE: Final = 0.02  # seconds; where a write takes less, helpers would only take the processor from transfers
_MAX_SURPRISES: Final = 3  # unexpected errors of the thread in a row, after which closing gives up
_LINK_CHECK: Final = 5.0  # seconds between two checks of a link that is down, should no call say that it is back


class StatusSender:
    """The thread, its helpers and the outbox they empty. Every method but `close` returns at once."""

    def __init__(self, context: ReportingContext) -> None:
        self._context, self._clock = context, context.clock
        self._outbox = Outbox(context.interval)
        self._wake = threading.Condition()  # over a reentrant lock: the cache takes it, too
        self.cache = ReportCache(context, self._outbox, self._wake)
        self.lease_checked = threading.Event()
        self._wake_at = self._heartbeat_due = self._heartbeat_retry_at = self._last_call = self._failed_at = 0.0
        self._has_lease = self._sending_heartbeat = self._final_sent = False
        self._closing = self._ended = self._incomplete = False
        self._helpers, self._surprises, self._last_write_time = 0, 0, 0.0
        self.backoff = Backoff(None, 1.0, 60.0)
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def post(self, key: str, body: bytes | None, *, urgent: bool) -> None:
        """Let `body` be the next value of `key`; None removes the object."""
        with self._wake:
            due = self._outbox.post(key, body, self._clock(), urgent=urgent)
            # Waking the thread for a write that is not due would only take the processor from transfers.
            if self._has_lease and due is not None and due < self._wake_at:
                self._wake_at = due
                self._wake.notify()

    def existing_keys(self) -> list[str]:
        with self._wake:
            return self._outbox.existing_keys()

    def request_heartbeat(self) -> None:
        """Send a heartbeat now: the state of the loader changed."""
        with self._wake:
            self._heartbeat_due = 0.0
            self._wake.notify()

    def link_restored(self) -> None:
        """Send what waited for the link."""
        with self._wake:
            self._forget_failures()
            self._wake.notify_all()

    def close(self, timeout: float) -> bool:
        """Send the rest for at most `timeout` seconds, the heartbeat last, and end. Returns whether all was sent."""
        with self._wake:
            self._closing, self._last_call = True, self._clock() + _REPORTS_SHARE * timeout
            self._heartbeat_due = 0.0
            self._outbox.flush_now()
            self._wake.notify()
            self._wake.wait_for(lambda: self._ended, timeout)
            return self._ended and not self._incomplete

    def _run(self) -> None:
        try:
            while self._try_next():
                pass
        except TailLeaseLost as error:
            self._incomplete = True
            self._context.on_lease_lost(str(error))
        finally:
            self.lease_checked.set()
            with self._wake:
                self._ended = True
                self._wake.notify_all()

    def _try_next(self) -> bool:
        """Call `_send_next`. An unexpected error is logged, and sending continues later. Raises TailLeaseLost."""
        try:
            going_on = self._send_next()
        except TailLeaseLost:
            raise
        except BaseException:
            # Thread boundary: without this thread the tail would fall silent.
            log.exception("Unexpected error while reporting to the status bucket")
            self.lease_checked.set()
            return self._pause()
        self._surprises = 0
        return going_on

    def _pause(self) -> bool:
        """Wait after an unexpected error; False if the loader ends and it happened too often."""
        self._surprises += 1
        wait = delay(self._surprises, 1.0, 60.0)
        with self._wake:
            self._wake.wait_for(lambda: self._closing, wait)
            if not self._closing:
                return True
            self._incomplete |= self._surprises >= _MAX_SURPRISES
        return not self._incomplete

    def _send_next(self) -> bool:
        """Wait until something is due and send it. Returns False at the end."""
        write: PendingWrite | None = None
        with self._wake:
            now = self._clock()
            # The last heartbeat gives the tail away, so nothing may follow it.
            last = self._closing and (not self._outbox or now >= self._last_call)
            if last and self._final_sent:
                self._incomplete |= bool(self._outbox)
                return False
            if not self._context.link_up():
                return self._await_link()
            # The last heartbeat does not wait for its turn, only after a failure.
            heartbeat_at = self._heartbeat_retry_at if last else max(self._heartbeat_due, self._outbox.paused_until)
            reports_first = self._closing and self._has_lease and self._outbox and not last
            self._sending_heartbeat = heartbeat_at <= now and not reports_first
            if not self._sending_heartbeat:
                write = self._take(now)
            if write is None and (not self._sending_heartbeat or self._outbox.in_flight):
                self._wait(now, heartbeat_at, last)
                return True
        if write is None:
            self._send_heartbeat(last)
        else:
            self._send(*write)
        return True

    def _await_link(self) -> bool:
        if self._closing:
            self._incomplete = True
            return False
        # Nothing is tried meanwhile, so nothing delays the first write once the link is back.
        self._forget_failures()
        self._wake.wait(_LINK_CHECK)
        return True

    def _forget_failures(self) -> None:
        self._outbox.paused_until = self._heartbeat_due = self._heartbeat_retry_at = 0.0
        self.backoff.reset()

    def _wait(self, now: float, heartbeat_at: float, last: bool) -> None:
        """Wait until a heartbeat or a write is due, a write ended, or `_wake` is notified."""
        due = [now + 3600.0]
        if not self._sending_heartbeat:
            due.append(heartbeat_at)
        if self._has_lease and not last and not self._sending_heartbeat:
            due.append(self._outbox.next_due(now) or heartbeat_at)
        if self._closing and now < self._last_call:
            due.append(self._last_call)
        self._wake_at = min(due)
        self._wake.wait(max(0.0, self._wake_at - now))

    def _take(self, now: float) -> PendingWrite | None:
        """Take the next write that may be sent now. Starts a helper if more are due and writes are slow."""
        if not self._has_lease or self._sending_heartbeat or (self._closing and now >= self._last_call):
            return None
        write = self._outbox.take(now)
        is_slow = self._closing or self._last_write_time > _SLOW_WRITE
        # While the store fails, one thread alone tries it.
        if write is not None and self._helpers < MAX_HELPERS and is_slow and not self.backoff.failures:
            due = self._outbox.next_due(now)
            if due is not None and due <= now:
                self._start_helper()
        return write

    def _start_helper(self) -> None:
        try:
            threading.Thread(target=self._help, name="status helper", daemon=True).start()
        except RuntimeError:  # no thread can be started: this one sends everything
            return
        self._helpers += 1

    def _help(self) -> None:
        try:
            while (write := self._take_to_help()) is not None:
                self._send(*write)
        finally:
            with self._wake:
                self._helpers -= 1

    def _take_to_help(self) -> PendingWrite | None:
        with self._wake:
            now = self._clock()
            # A heartbeat that is due must not wait for more reports.
            heartbeat_due = not self._closing and now >= self._heartbeat_due
            return None if heartbeat_due or self.backoff.failures or self._incomplete else self._take(now)

    def _send_heartbeat(self, last: bool) -> None:
        with self._wake:
            self._heartbeat_due = self._clock() + self._context.heartbeat_interval
        try:
            heartbeat = self._context.lease.with_holder(self._context.heartbeat(), ended=last)
            replaced = self._context.lease.write(build_heartbeat(heartbeat))
        except WorldError as error:
            self._heartbeat_failed(error)
        except TailLeaseLost:
            raise
        except Exception:
            # The edge of a thread: without it the tail would fall silent.
            log.exception("Failed to write the heartbeat")
            self._heartbeat_failed(WorldError(Code.INTERNAL))
        else:
            self._heartbeat_arrived(replaced, last)
        self.lease_checked.set()

    def _heartbeat_arrived(self, replaced: str, last: bool) -> None:
        with self._wake:
            self.backoff.reset()
            self._has_lease, self._final_sent, self._heartbeat_retry_at = True, last, 0.0
            needs_listing = self.cache.confirm(replaced)
        if needs_listing and not last:
            self.cache.list_bucket()

    def _heartbeat_failed(self, error: WorldError) -> None:
        with self._wake:
            is_first, until = self._count_failure(error)
            self._has_lease, self._heartbeat_due, self._heartbeat_retry_at = False, until, until
            if self._closing and error.permanent:
                self._incomplete = self._final_sent = True
                self._last_call = 0.0
        if is_first:
            self._report_unreachable(error)

    def _send(self, key: str, body: bytes | None) -> None:
        began = self._clock()
        try:
            if body is None:
                self._context.bucket.delete(key)
            else:
                self._context.bucket.put(key, body)
            self._record_sent(key, body, began)
        except WorldError as error:
            # A key that may not be written must not delay the others; a store that is unreachable does.
            self._postpone(key, error, alone=error.code == Code.FORBIDDEN)
            return
        except BaseException:
            # The edge of a thread: an unexpected failure of one key must not stop all others.
            log.exception("Failed to write %s to the status bucket", key)
            self._postpone(key, WorldError(Code.INTERNAL), alone=True)
            return
        failpoint("error-removed" if body is None else "progress-sent")

    def _record_sent(self, key: str, body: bytes | None, began: float) -> None:
        with self._wake:
            now = self._clock()
            self._last_write_time = now - began
            self._outbox.sent(key, body, now)
            if began >= self._failed_at:  # one that began earlier says nothing about the store since
                self.backoff.reset()
            self._wake.notify_all()

    def _postpone(self, key: str, error: WorldError, *, alone: bool) -> None:
        with self._wake:
            # Several writes may be in flight when the store fails: they count as one failure.
            is_counted = not alone and self._clock() < self._outbox.paused_until
            is_first, until = (False, self._outbox.paused_until) if is_counted else self._count_failure(error)
            self._outbox.failed(key, until if alone else 0.0)
            if self._closing and error.permanent:
                self._incomplete = True
                self._outbox.discard(key)
            elif not alone:
                self._outbox.paused_until = until
            self._wake.notify_all()
        if is_first:
            self._report_unreachable(error)

    def _count_failure(self, error: WorldError) -> tuple[bool, float]:
        """Return whether it is the first of a series, and when to try again. The caller has the lock."""
        is_first, self._failed_at = self.backoff.failures == 0, self._clock()
        wait = self.backoff.next_delay(error.retry_after)
        return is_first, self._failed_at + (min(wait, 1.0) if self._closing else wait)

    def _report_unreachable(self, error: WorldError) -> None:
        self._context.on_unreachable(f"The status bucket cannot be written: {error.code}: {error}")
