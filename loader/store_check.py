"""`run_loader --check`: tries out what this aircraft needs of its two buckets, within the rights of its tail."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from loader.contract.keys import heartbeat_key, parse_media_key
from loader.errors import BadName, ExitCode
from loader.s3.auth.redaction import redact
from loader.s3.check.plan import BucketPlan, Budget
from loader.s3.check.runner import check_store
from loader.s3.client import S3Bucket

SCRATCH: Final = ".check/"  # segments that begin with a dot are passed over by loaders and portal
READ_TIMEOUT: Final = 10.0  # seconds at most, so that the whole check is bounded


def check_as_loader(
    airline: str,
    tail: str,
    buckets: tuple[S3Bucket, S3Bucket],
    budget: Budget,
    *,
    as_json: bool,
    write: Callable[[str], object],
) -> ExitCode:
    """Check media and status bucket and write the report. Return SOME_FAILED if something needed is missing."""
    plans = loader_plans(airline, tail)
    report = check_store("loader", list(zip(buckets, plans, strict=True)), budget)
    lines = [json.dumps(report.as_json())] if as_json else report.lines()
    for line in lines:
        write(f"{redact(line)}\n")
    if report.missing:
        return ExitCode.SOME_FAILED
    return ExitCode.DONE if report.is_complete else ExitCode.UNREACHABLE


def loader_plans(airline: str, tail: str) -> tuple[BucketPlan, BucketPlan]:
    """Return the checks of media and status bucket."""
    own = f"{airline}/{tail}/"
    return (
        BucketPlan("media", f"{airline}/", may_read=lambda key: _is_readable(key, tail)),
        BucketPlan(
            "status",
            own,
            reads=False,
            known_key=heartbeat_key(airline, tail),
            scratch=own + SCRATCH,
            must_list=False,
            must_write=True,
        ),
    )


def _is_readable(key: str, tail: str) -> bool:
    """Whether the rights of a tail include an object of the media bucket."""
    try:
        parsed = parse_media_key(key)
    except BadName:
        return False
    return parsed is not None and (parsed.kind != "queue" or parsed.tail == tail)
