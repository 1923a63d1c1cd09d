"""`poll_buckets`: read both buckets into the database, once or until stopped."""

from __future__ import annotations

import json
import logging
import threading
from argparse import RawDescriptionHelpFormatter
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, ProgrammingError, close_old_connections
from django.utils import timezone

from fleet import usage
from fleet.polling.discovery import discover, find_airline
from fleet.polling.poller import PollOptions, poll_airline
from fleet.polling.result import PollResult
from fleet.usage import RequestMeter
from ifeportal.jobs import leases, runner
from ifeportal.management.argument_types import duration
from ifeportal.management.shutdown import stop_on_signal
from ifeportal.models import Airline
from ifeportal.storage.buckets import media_bucket, status_bucket
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.errors import ExitCode, WorldError
from loader.s3.interface import Bucket
from loader.s3.retry import Backoff, no_jitter

HELP: Final = """Read both buckets into the database: what should fly, and what has arrived.

Without --airline new airlines are looked for first, then each is polled in turn. It may run beside qcluster and
pacemaker: an airline that is being polled by a worker is left to it (with --once it is polled all the same, which does
no harm). Errors are told and tried again, ever less often; SIGTERM or Ctrl-C ends it after the transaction at hand.

Exit with --once: 0 all was read; 1 some was not; 2 usage, or no such airline; 75 neither bucket (or not the database)
could be reached, try again later. Without --once: 0 when told to stop.
"""
MAXIMUM_PAUSE: Final = 60.0  # seconds between two polls that fail, unless the interval is longer
logger = logging.getLogger(__name__)


class PollingStopped(BaseException):
    """The command was told to stop; no error, so nothing that takes errors down may take this."""


class Command(BaseCommand):
    help = HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="poll once and end")
        parser.add_argument("--airline", metavar="A", help="only this one; made if a bucket has objects of it")
        parser.add_argument(
            "--interval", type=duration, metavar="2s", help="from the start of one poll to the next (POLL_INTERVAL)"
        )
        parser.add_argument("--json", action="store_true", help="print each poll as a JSON object in a line")

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
            sentence = f"the database is away or its tables are missing (manage.py migrate makes them): {error}"
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
        backoff = Backoff(None, 2 * poll.interval, max(MAXIMUM_PAUSE, poll.interval), jitter=no_jitter)
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
    """The polls of one run of the command. `airline` is the name of the only one to poll, or None for all."""

    def __init__(self, media: Bucket, status: Bucket, airline: str | None, interval: float) -> None:
        self.media, self.status = media, status
        self.airline, self.interval = airline, interval
        self.stop = threading.Event()

    def all(self, *, include_leased: bool) -> PollResult | None:
        """Poll what there is; None if the airline does not exist.

        `include_leased`: even what another polls right now.
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
        """Poll one airline under its lease, so that its row tells how it went."""
        done: list[PollResult] = []

        def read(terms: PollOptions) -> None:
            done.append(poll_airline(airline, self.media, self.status, timezone.now(), terms))
            usage.record(airline.pk, done[0])

        def work(held: leases.Lease) -> None:
            read(PollOptions(lease=_StoppableLease(held, self.stop), uninterrupted_since=held.steady_since))
            held.found_changes = done[0].changes > 0
            if done[0].failures:
                raise runner.JobFailed("; ".join(done[0].failures))

        _raise_if_stopped(self.stop)
        try:
            # Due again when a pacemaker would have it so, however seldom this command polls.
            runner.run(f"poll:{airline.name}", settings.POLL_INTERVAL, work, when_due=False)
        except runner.JobFailed:
            return done[0]  # Told by the result.
        if not done and include_leased:
            # Whoever else polls judges what stands still.
            read(PollOptions(lease=_StoppableLease(NO_LEASE, self.stop), uninterrupted_since=None))
        return done[0] if done else PollResult()


class _StoppableLease:
    """A lease whose heartbeat also ends the poll when the command was told to stop."""

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
    """One poll of an endless run; what goes wrong is told in the result. Raises Stopped."""
    try:
        return poll.all(include_leased=False) or PollResult()
    except WorldError as error:
        return PollResult(failures=(f"{error.code}: {error}",))
    except (OperationalError, InterfaceError) as error:
        return PollResult(failures=(f"the database is away: {error}",))
    except Exception:
        logger.exception("polling failed")
        return PollResult(failures=("the poll could not be finished",))
    finally:
        close_old_connections()


def format_result(result: PollResult) -> str:
    """A poll in one line."""
    line = (
        f"{timezone.now():%H:%M:%S} {result.objects_changed:,} of {result.objects_seen:,} objects changed, "
        f"{result.transfers_changed:,} transfers written, {result.anomalies:,} anomalies open; "
        f"{result.list_requests:,} LIST, {result.get_requests:,} GET, {result.seconds:.2f} s"
    )
    return line + "".join(f"\n  failed: {sentence}" for sentence in result.failures)
