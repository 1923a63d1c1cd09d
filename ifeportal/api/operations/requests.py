"""A request that waits for a change of one operation, as the view parsed it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rest_framework import serializers

from ifeportal import formatting
from ifeportal.live.feed_query import ChangesRequest

MIN_WAIT: Final = 1  # seconds
MAX_WAIT: Final = 60  # seconds


@dataclass(frozen=True, slots=True)
class OperationRequest(ChangesRequest):
    """A request that `operations.stream` answers. `since` is the revision before the row was read.

    `events` is what a stream sends first. A request without conditions is answered by any change.
    """

    events: str = ""
    is_conditional: bool = False
    has_ended: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """What a long poll knows of the operation, by parameters: `status` (a status word or state) and `as_of`."""

    status: str = ""
    as_of: datetime | None = None

    def __bool__(self) -> bool:
        return bool(self.status or self.as_of)

    def is_current(self, state: Mapping[str, Any]) -> bool:
        """Return whether the operation is still as the client knows it."""
        is_same_status = not self.status or self.status in (state["status"], state["state"])
        return is_same_status and (self.as_of is None or formatting.iso(self.as_of) == state["as_of"])


class WaitSerializer(serializers.Serializer[Any]):
    """Query parameters of a long poll."""

    wait = serializers.IntegerField(
        required=False,
        min_value=MIN_WAIT,
        max_value=MAX_WAIT,
        help_text="Seconds to wait for a change. Without a condition, any change ends the wait. The conditions are "
        "`If-None-Match`, `status` and `as_of`. An operation that has ended is returned at once.",
    )
    status = serializers.CharField(
        required=False, max_length=40, help_text="With `wait`: wait while the operation has this status or state."
    )
    as_of = serializers.DateTimeField(
        required=False, help_text="With `wait`: wait while this is the operation's `as_of`."
    )
