"""Builds the heartbeat from the loader's current state. Reads content directories for space and complete campaigns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from loader import VERSION
from loader.agent.local_content import LocalContent
from loader.contract.heartbeat import Heartbeat
from loader.media.queue_reader import TransferQueueReader
from loader.media.snapshot import MediaSnapshot
from loader.planning.model import Plan
from loader.s3.auth.redaction import redact

_TEXT_LIMIT = 500  # characters


class HeartbeatSource:
    """State of the loader as its heartbeat reports it.

    The control loop assigns `state` (state, reason, campaign), `snapshot` and `plan`. The thread that writes to the
    status bucket calls `build`.
    """

    def __init__(
        self,
        local_content: LocalContent,
        queue_reader: TransferQueueReader,
        signature_policy: str,
        rate: Callable[[], int | None],
    ) -> None:
        """`rate`: bytes a second received lately, all transfers together."""
        self._local_content, self._queue_reader, self._rate = local_content, queue_reader, rate
        self._signature_policy = "" if signature_policy == "off" else signature_policy
        self._started = datetime.now(UTC)
        self.state = ("idle", "", "")
        self.snapshot, self.plan = MediaSnapshot({}), Plan()

    def build(self) -> Heartbeat:
        state, reason, campaign = self.state
        queue = self._queue_reader.queue
        refused = (f"{name} is not removed: {why}" for name, why in self.plan.refused_removals)
        extra: Mapping[str, object] = {
            "queue_error": redact("; ".join(filter(None, (self._queue_reader.problem, *refused))))[:_TEXT_LIMIT],
            "signatures": {name: redact(text) for name, text in self.snapshot.signature_warnings.items()},
            "signature_policy": self._signature_policy,
        }
        return Heartbeat(
            loader=VERSION,
            at=datetime.now(UTC),
            started_at=self._started,
            state=state,
            reason=redact(reason)[:_TEXT_LIMIT],
            campaign=campaign,
            rate_bps=(self._rate() or 0) if state == "loading" else 0,
            stores=self._local_content.usage(),
            queue_version=queue.version if queue else None,
            held=self._local_content.held_campaigns(),
            extra={name: value for name, value in extra.items() if value},
        )
