"""Runs the checks of the media bucket and the status bucket, within a time limit, and cleans up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from loader.errors import ERRORS, Code, WorldError
from loader.frozen import frozen
from loader.s3.check.findings import Finding, StoreReport, describe_error
from loader.s3.check.plan import BucketPlan, Budget, Check, Reporter
from loader.s3.check.probe import StoreProbe
from loader.s3.check.reading import ReadChecks
from loader.s3.check.writing import WriteChecks
from loader.s3.client import S3Bucket
from loader.s3.retry import Backoff

ATTEMPTS: Final = 4
_FIRST_WAIT: Final = 0.5  # seconds
_LONGEST_WAIT: Final = 5.0  # seconds


def check_store(user: str, buckets: Sequence[tuple[S3Bucket, BucketPlan]], budget: Budget) -> StoreReport:
    """Try out what `user` ("loader" or "portal") needs of each bucket. Never raises WorldError."""
    findings = [finding for bucket, plan in buckets for finding in _check_bucket(bucket, plan, budget)]
    return StoreReport(user, findings, is_complete=not budget.why_over())


def _check_bucket(bucket: S3Bucket, plan: BucketPlan, budget: Budget) -> Iterator[Finding]:
    probe, say = StoreProbe(bucket.transport), Reporter(plan.role)
    for check in ReadChecks(probe, plan).checks():
        result = _attempt(check, say, budget, probe)
        if check.name == "list" and result.error and result.error.code != Code.FORBIDDEN:
            # No other request can succeed either: only a missing right affects single requests.
            yield say.missing("list", describe_error(result.error), "The bucket cannot be used.")
            yield say.skipped("others", "Not tested: all other checks.")
            return
        yield result.finding
    if plan.scratch:
        yield from _write(WriteChecks(probe, plan), say, budget, probe)


def _write(writing: WriteChecks, say: Reporter, budget: Budget, probe: StoreProbe) -> Iterator[Finding]:
    failed = ""
    findings = []
    try:
        for check in writing.checks():
            if failed:
                findings.append(say.skipped(check.name, f"Not tested, because {failed!r} failed."))
                continue
            result = _attempt(check, say, budget, probe)
            findings.append(result.finding)
            if result.error and check.name in ("delete", "put"):
                failed = check.name
    finally:  # also after KeyboardInterrupt
        cleaned = writing.clean_up()
    yield from findings
    yield cleaned


@frozen
class _Result:
    """The finding of a check, and the error that ended it."""

    finding: Finding
    error: WorldError | None = None


def _attempt(check: Check, say: Reporter, budget: Budget, probe: StoreProbe) -> _Result:
    """Run a check, again while the store fails only for now."""
    backoff = Backoff(ATTEMPTS, _FIRST_WAIT, _LONGEST_WAIT)
    while True:
        if why := budget.why_over():
            return _Result(say.skipped(check.name, why))
        try:
            return _Result(check.run())
        except WorldError as error:
            wait = backoff.next_delay(error.retry_after)
            if error.permanent or backoff.is_exhausted:
                return _Result(_failed(check, say, error), error)
        probe.transport.wait(wait)


def _failed(check: Check, say: Reporter, error: WorldError) -> Finding:
    text = describe_error(error)
    if check.needed:
        return say.missing(check.name, text, check.meaning)
    return say.warning(check.name, str(error).rstrip(".") + ".", check.meaning or ERRORS[error.code].advice)
