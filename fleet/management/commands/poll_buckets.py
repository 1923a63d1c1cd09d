"""`poll_buckets`: read both buckets into the database, once or until stopped."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import InterfaceError, OperationalError, ProgrammingError, close_old_connections
from django.utils import timezone

from fleet import usage
from fleet.polling.discovery import discover, find_airline
from fleet.polling.poller import PollOptions, poll_airline
from fleet.polling.result import PollResult
from fleet.usage import RequestMeter
from ifeportal.jobs import leases, runner
from ifeportal.management.argument_types import duration
from ifeportal.management.base import FormattedHelpCommand
from ifeportal.management.shutdown import stop_on_signal
from ifeportal.models import Airline
from ifeportal.storage.buckets import media_bucket, status_bucket
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.errors import ExitCode, WorldError
from loader.s3.interface import Bucket
from loader.s3.retry import Backoff, no_jitter

HELP: Final = """Read both buckets into the database: the manifests, and the reports of the aircraft.

Without --airline, new airlines are discovered first, then all are polled one after the other. The command can run
beside qcluster and pacemaker: an airline that a worker polls is skipped (with --once it is polled too, which does no
harm). After an error it retries with growing delays. Stop it with SIGTERM or Ctrl-C; the current transaction is
completed.

Exit codes with --once: 0 success; 1 partly failed; 2 usage error or unknown airline; 75 neither bucket, or not the
database, was reachable (try again later). Without --once: 0 when stopped.
"""
MAX_RETRY_DELAY: Final = 60.0  # seconds between two failing polls, unless the interval is longer
logger = logging.getLogger(__name__)


class PollingStopped(BaseException):
    """A signal stops the command. A BaseException, so that code that records errors does not catch it."""


class Command(FormattedHelpCommand):
    help = HELP

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="poll once and exit")
        parser.add_argument(
            "--airline", metavar="A", help="poll only this airline; it is created if a bucket has objects of it"
        )
        parser.add_argument(
            "--interval",
            type=duration,
            metavar="2s",
            help="time from the start of one poll to the next (default: POLL_INTERVAL)",
        )
        parser.add_argument("--json", action="store_true", help="print the result of each poll as one line of JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        interval: float = options["interval"] or settings.POLL_INTERVAL
        poll = Polling(media_bucket(), status_bucket(), options["airline"], interval)
        try:
            if options["once"]:
                self._once(poll, as_json=options["json"])
                return
            stop_on_signal(poll.stop)
            self._endlessly(poll, as_json=options["json"])
        finally:
            usage.flush(timezone.now(), at_once=True)

    def _once(self, poll: Polling, *, as_json: bool) -> None:
        try:
            result = poll.all(include_leased=True)
        except (OperationalError, InterfaceError, ProgrammingError) as error:
            sentence = f"the database is not responding or has no tables (run manage.py migrate): {error}"
            raise CommandError(sentence, returncode=ExitCode.UNREACHABLE) from error
        except WorldError as error:
            raise CommandError(f"{error.code}: {error}", returncode=ExitCode.UNREACHABLE) from error
        if result is None:
            raise CommandError(f"no bucket has objects of the airline {poll.airline!r}", returncode=ExitCode.USAGE)
        self._tell(result, as_json=as_json)
        if result.failures:
            code = ExitCode.SOME_FAILED if result.listings else ExitCode.UNREACHABLE
            raise CommandError("; ".join(result.failures), returncode=code)

    def _endlessly(self, poll: Polling, *, as_json: bool) -> None:
        backoff = Backoff(None, 2 * poll.interval, max(MAX_RETRY_DELAY, poll.interval), jitter=no_jitter)
        while not poll.stop.is_set():
            started = timezone.now()
            try:
                result = attempt(poll)
            except PollingStopped:
                break
            self._tell(result, as_json=as_json)
            usage.flush(timezone.now())
            if not result.failures:
                backoff.reset()
            pause = backoff.next_delay() if result.failures else poll.interval
            poll.stop.wait(max(pause - (timezone.now() - started).total_seconds(), 0))

    def _tell(self, result: PollResult, *, as_json: bool) -> None:
        self.stdout.write(json.dumps(result.figures()) if as_json else format_result(result))
        self.stdout.flush()
        if as_json and result.failures:
            logger.warning("polling failed: %s", "; ".join(result.failures))


class Polling:
    """The polls of one run of the command. `airline` is the only airline to poll, or None for all."""

    def __init__(self, media: Bucket, status: Bucket, airline: str | None, interval: float) -> None:
        self.media, self.status = media, status
        self.airline, self.interval = airline, interval
        self.stop = threading.Event()

    def all(self, *, include_leased: bool) -> PollResult | None:
        """Poll the airlines; None if the requested airline does not exist.

        `include_leased`: also those that another process is polling.
        """
        if self.airline is not None:
            meter = RequestMeter(self.media, self.status)
            row = find_airline(self.airline, self.media, self.status)
            usage.record(None, meter.read())
            return None if row is None else self._one(row, include_leased=include_leased)
        result = discover(self.media, self.status, timezone.now())
        usage.record(None, result)
        for row in Airline.objects.order_by("name"):
            result += self._one(row, include_leased=include_leased)
        return result

    def _one(self, airline: Airline, *, include_leased: bool) -> PollResult:
        """Poll one airline under its lease, so that its job records the outcome."""
        done: list[PollResult] = []

        def read(poll_options: PollOptions) -> None:
            done.append(poll_airline(airline, self.media, self.status, timezone.now(), poll_options))
            usage.record(airline.pk, done[0])

        def work(lease: leases.Lease) -> None:
            read(PollOptions(lease=_StoppableLease(lease, self.stop), uninterrupted_since=lease.steady_since))
            lease.found_changes = done[0].changes > 0
            if done[0].failures:
                raise runner.JobFailed("; ".join(done[0].failures))

        _raise_if_stopped(self.stop)
        try:
            # The job's own interval: this command may poll less often than the workers.
            runner.run(f"poll:{airline.name}", settings.POLL_INTERVAL, work, when_due=False)
        except runner.JobFailed:
            return done[0]  # the result has the failures
        if not done and include_leased:
            # The process with the lease decides which transfers are stalled.
            read(PollOptions(lease=_StoppableLease(NO_LEASE, self.stop), uninterrupted_since=None))
        return done[0] if done else PollResult()


class _StoppableLease:
    """A lease whose heartbeat also raises PollingStopped once the command is stopped."""

    def __init__(self, lease: WorkLease, stop: threading.Event) -> None:
        self._lease, self._stop = lease, stop

    def heartbeat(self) -> None:
        self._lease.heartbeat()
        _raise_if_stopped(self._stop)

    def check_fence(self) -> None:
        self._lease.check_fence()


def _raise_if_stopped(stop: threading.Event) -> None:
    if stop.is_set():
        raise PollingStopped


def attempt(poll: Polling) -> PollResult:
    """Run one poll of an endless run; errors are in the result. Raises PollingStopped."""
    try:
        return poll.all(include_leased=False) or PollResult()
    except WorldError as error:
        return PollResult(failures=(f"{error.code}: {error}",))
    except (OperationalError, InterfaceError) as error:
        return PollResult(failures=(f"the database is not responding: {error}",))
    except Exception:
        logger.exception("polling failed")
        return PollResult(failures=("the poll failed with an unexpected error",))
    finally:
        close_old_connections()


def format_result(result: PollResult) -> str:
    """Return the result of a poll as one line, and one more for each failure."""
    line = (
        f"{timezone.now():%H:%M:%S} {result.objects_changed:,} of {result.objects_seen:,} objects changed, "
        f"{result.transfers_changed:,} transfers written, {result.anomalies:,} anomalies open; "
        f"{result.list_requests:,} LIST, {result.get_requests:,} GET, {result.seconds:.2f} s"
    )
    return line + "".join(f"\n  failed: {sentence}" for sentence in result.failures)
