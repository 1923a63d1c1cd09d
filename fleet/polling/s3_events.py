"""S3 event notifications: the keys of objects that were written or deleted. Pure.

Only the key of an event is used: events arrive late, twice and out of order, so the current object is fetched. Three
formats are parsed: S3's own (keys are form-encoded, "+" for a space), the same in an SNS envelope, and EventBridge's
(plain keys). The content is untrusted: anyone with access to the queue may have written it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_plus

from loader.contract.strict_json import Fields, loads
from loader.errors import Code, ContractError

MESSAGE_LIMIT: Final = 1_048_576  # bytes; SQS's own limit
RECORDS_LIMIT: Final = 2_000  # of one message; S3 itself writes one


class BadNotification(ContractError):
    """A message could not be parsed."""

    code = Code.INTERNAL


def parse_notification(body: str, bucket: str) -> frozenset[str]:
    """Return the keys in `bucket` that the message names; empty if it is about something else.

    Raises:
        BadNotification: with a sentence that names the place.
    """
    event = _read(body)
    if event.text("Type") == "Notification":
        event = _read(event.text("Message"))
    if event.text("Event") == "s3:TestEvent":
        return frozenset()
    named = [_detail(event)] if event.text("source") == "aws.s3" else list(_records(event))
    return frozenset(key for name, key in named if name == bucket)


def _read(body: str) -> Fields:
    return Fields(
        loads(body.encode(errors="surrogatepass"), limit=MESSAGE_LIMIT, error=BadNotification), "", BadNotification
    )


def _records(event: Fields) -> Iterator[tuple[str, str]]:
    """Yield bucket and key of each record, in S3's format."""
    records = event.array("Records")
    if not 0 < len(records) <= RECORDS_LIMIT:
        event.fail("Records", f"must be 1 to {RECORDS_LIMIT:,} events of a bucket")
    for number, record in enumerate(records):
        place = f"Records[{number}].s3"
        bucket, key = _named(Fields(record, f"Records[{number}]", BadNotification).pop("s3"), place)
        try:
            yield bucket, unquote_plus(key, errors="strict")
        except UnicodeDecodeError as error:
            raise BadNotification(f"{place}.object.key: is not UTF-8") from error


def _detail(event: Fields) -> tuple[str, str]:
    """Return bucket and key, in EventBridge's format."""
    return _named(event.pop("detail"), "detail")


def _named(value: object, place: str) -> tuple[str, str]:
    about = Fields(value, place, BadNotification)
    bucket = Fields(about.pop("bucket"), f"{place}.bucket", BadNotification)
    found = Fields(about.pop("object"), f"{place}.object", BadNotification)
    name, key = bucket.text("name"), found.text("key")
    if not name:
        bucket.fail("name", "is missing")
    if not key:
        found.fail("key", "is missing")
    return name, key
