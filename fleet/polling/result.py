"""The figures of a poll, and the message of a bucket that failed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from fleet.usage import RequestCounts
from loader.errors import WorldError


@dataclass(frozen=True, slots=True)
class PollResult(RequestCounts):
    """Requests sent, objects listed, objects changed or deleted, transfers written, anomalies open, seconds.

    `bytes_received` are those of the responses. `changes` counts changed transfers, loads and campaigns (heartbeats are
    not changes), `listings` those read, `truncated` those with more keys than are read, `unfinished` those cut by time.
    `failures` are sentences. Results can be added, also to bare request counts.
    """

    objects_seen: int = 0
    objects_changed: int = 0
    transfers_changed: int = 0
    anomalies: int = 0
    changes: int = 0
    listings: int = 0
    truncated: int = 0
    unfinished: int = 0
    failures: tuple[str, ...] = ()

    def __add__(self, other: RequestCounts) -> PollResult:
        more = {each.name: getattr(other, each.name) for each in fields(other)}
        return replace(self, **{name: getattr(self, name) + value for name, value in more.items()})

    def figures(self) -> dict[str, int | float]:
        """Return the figures the contract promises, ready for JSON."""
        return {
            "list_requests": self.list_requests,
            "get_requests": self.get_requests,
            "objects_seen": self.objects_seen,
            "objects_changed": self.objects_changed,
            "transfers_changed": self.transfers_changed,
            "anomalies": self.anomalies,
            "seconds": round(self.seconds, 3),
        }


def failure_message(bucket: str, error: WorldError) -> str:
    """Return the sentence for a bucket that could not be read."""
    return f"{bucket} bucket: {error.code}: {error}"
