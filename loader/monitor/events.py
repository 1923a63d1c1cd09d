"""Who hears what a loader does: the events as they happen, and one that passes them on to several.

Every event may come from any thread and must return at once: `moved` is called for every chunk of every transfer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loader.planning.model import PlanStep
from loader.s3.redaction import redact


class Listener:
    """What may be heard; whoever derives from it defines what it wants to hear. Sizes in bytes, times in seconds."""

    def plan(self, items: int, size: int, begun: int) -> None:
        """So many items of so many bytes are to be loaded, of which `begun` bytes are here already."""

    def wanted(
        self, steps: Sequence[PlanStep], refused: Mapping[str, tuple[str, str]], titles: Mapping[str, str]
    ) -> None:
        """A new plan: all its steps, those that need no work too.

        `refused`: the code and the sentence for each campaign that cannot be loaded at all; `titles`: of campaigns.
        """

    def say(self, event: str, text: str, **fields: object) -> None:
        """Anything without a method of its own."""

    def began(self, campaign: str, content: str, kept: int, size: int) -> None:
        """A transfer begins, with `kept` bytes on disk."""

    def moved(self, campaign: str, content: str, kept: int, size: int, gained: int) -> None:
        """Called for every chunk; `gained` bytes came since the last call."""

    def retrying(self, campaign: str, content: str, code: str, text: str, wait: float) -> None:
        """A try failed; another follows in `wait` seconds."""

    def stopped(self, campaign: str, content: str) -> None:
        """The transfer gave way or was told to end; what it has is kept."""

    def finished(self, campaign: str, content: str, size: int, *, verified: bool) -> None:
        """The item is whole; if its step said `beside`, not yet under its final name."""

    def settled(self, campaign: str) -> None:
        """The campaign is whole and every item of it has its final name."""

    def failed(self, campaign: str, content: str, code: str, text: str) -> None:
        """The item is given up for now."""

    def well(self, campaign: str, content: str) -> None:
        """What had failed once the item was whole has gone well now."""

    def campaign_failed(self, campaign: str, code: str, text: str) -> None:
        """The whole campaign is."""

    def state(self, state: str, reason: str, campaign: str) -> None:
        """What the loader as a whole is about, in the words of the heartbeat."""

    def link(self, up: bool, reason: str) -> None:
        """Whether the link may be used, and why not."""

    def queue(self, version: int | None, paused: bool, window: str, bandwidth_limit: int | None) -> None:
        """What is in force: of the queue and, where it says nothing, of the settings. No version: no queue."""

    def close(self) -> None:
        """No more events."""


class Fan(Listener):
    """Passes everything on to several, in their order."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def plan(self, items: int, size: int, begun: int) -> None:
        """To all."""
        for listener in self._listeners:
            listener.plan(items, size, begun)

    def wanted(
        self, steps: Sequence[PlanStep], refused: Mapping[str, tuple[str, str]], titles: Mapping[str, str]
    ) -> None:
        """To all."""
        for listener in self._listeners:
            listener.wanted(steps, refused, titles)

    def say(self, event: str, text: str, **fields: object) -> None:
        """To all."""
        for listener in self._listeners:
            listener.say(event, text, **fields)

    def began(self, campaign: str, content: str, kept: int, size: int) -> None:
        """To all."""
        for listener in self._listeners:
            listener.began(campaign, content, kept, size)

    def moved(self, campaign: str, content: str, kept: int, size: int, gained: int) -> None:
        """To all."""
        for listener in self._listeners:
            listener.moved(campaign, content, kept, size, gained)

    def retrying(self, campaign: str, content: str, code: str, text: str, wait: float) -> None:
        """To all."""
        for listener in self._listeners:
            listener.retrying(campaign, content, code, text, wait)

    def stopped(self, campaign: str, content: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.stopped(campaign, content)

    def finished(self, campaign: str, content: str, size: int, *, verified: bool) -> None:
        """To all."""
        for listener in self._listeners:
            listener.finished(campaign, content, size, verified=verified)

    def settled(self, campaign: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.settled(campaign)

    def failed(self, campaign: str, content: str, code: str, text: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.failed(campaign, content, code, text)

    def well(self, campaign: str, content: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.well(campaign, content)

    def campaign_failed(self, campaign: str, code: str, text: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.campaign_failed(campaign, code, text)

    def state(self, state: str, reason: str, campaign: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.state(state, reason, campaign)

    def link(self, up: bool, reason: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.link(up, reason)

    def queue(self, version: int | None, paused: bool, window: str, bandwidth_limit: int | None) -> None:
        """To all."""
        for listener in self._listeners:
            listener.queue(version, paused, window, bandwidth_limit)

    def close(self) -> None:
        """To all."""
        for listener in self._listeners:
            listener.close()


class Redacting(Fan):
    """Passes on without secrets: texts of errors, and of the bucket, which may quote what it was sent."""

    def wanted(
        self, steps: Sequence[PlanStep], refused: Mapping[str, tuple[str, str]], titles: Mapping[str, str]
    ) -> None:
        """Reasons and titles."""
        reasons = {name: (code, redact(text)) for name, (code, text) in refused.items()}
        super().wanted(steps, reasons, {name: redact(title) for name, title in titles.items()})

    def say(self, event: str, text: str, **fields: object) -> None:
        """The sentence and the fields that are text."""
        safe = {name: redact(value) if isinstance(value, str) else value for name, value in fields.items()}
        super().say(event, redact(text), **safe)

    def retrying(self, campaign: str, content: str, code: str, text: str, wait: float) -> None:
        """The error."""
        super().retrying(campaign, content, code, redact(text), wait)

    def failed(self, campaign: str, content: str, code: str, text: str) -> None:
        """The error."""
        super().failed(campaign, content, code, redact(text))

    def campaign_failed(self, campaign: str, code: str, text: str) -> None:
        """The error."""
        super().campaign_failed(campaign, code, redact(text))

    def state(self, state: str, reason: str, campaign: str) -> None:
        """The reason."""
        super().state(state, redact(reason), campaign)

    def link(self, up: bool, reason: str) -> None:
        """The reason."""
        super().link(up, redact(reason))
