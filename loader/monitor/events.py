"""Events of the loader and their listeners, and a listener that forwards to several.

Events come from any thread and listeners must return at once: `item_progress` is called for every chunk of every
transfer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loader.errors import Code
from loader.planning.model import PlanStep
from loader.s3.auth.redaction import redact


class EventListener:
    """What may be heard; whoever derives from it defines what it wants to hear. Sizes in bytes, times in seconds."""

    def plan(self, items: int, size: int, bytes_done: int) -> None:
        """So many items of so many bytes are to be loaded, of which `bytes_done` bytes are here already."""

    def plan_changed(
        self, steps: Sequence[PlanStep], refused: Mapping[str, tuple[Code, str]], titles: Mapping[str, str]
    ) -> None:
        """A new plan: all its steps, those that need no work too.

        `refused`: the code and the sentence for each campaign that cannot be loaded at all; `titles`: of campaigns.
        """

    def notice(self, event: str, text: str, **fields: object) -> None:
        """Anything without a method of its own."""

    def item_started(self, campaign: str, content: str, bytes_done: int, size: int) -> None:
        """A transfer begins, with `bytes_done` bytes on disk."""

    def item_progress(self, campaign: str, content: str, bytes_done: int, size: int, gained: int) -> None:
        """Called for every chunk; `gained` bytes came since the last call."""

    def item_retrying(self, campaign: str, content: str, code: Code, text: str, wait: float) -> None:
        """A try failed; another follows in `wait` seconds."""

    def item_stopped(self, campaign: str, content: str) -> None:
        """The transfer gave way or was told to end; what it has is kept."""

    def item_finished(self, campaign: str, content: str, size: int, *, verified: bool) -> None:
        """The item is whole; if its step said `staged`, not yet under its final name."""

    def campaign_activated(self, campaign: str) -> None:
        """The campaign is whole and every item of it has its final name."""

    def item_failed(self, campaign: str, content: str, code: Code, text: str) -> None:
        """The item is given up for now."""

    def hook_recovered(self, campaign: str, content: str) -> None:
        """What had failed once the item was whole has gone well now."""

    def campaign_failed(self, campaign: str, code: Code, text: str) -> None:
        """The whole campaign is."""

    def state_changed(self, state: str, reason: str, campaign: str) -> None:
        """What the loader as a whole is about, in the words of the heartbeat."""

    def link_changed(self, up: bool, reason: str) -> None:
        """Whether the link may be used, and why not."""

    def queue_changed(self, version: int | None, paused: bool, window: str, bandwidth_limit: int | None) -> None:
        """What is in force: of the queue and, where it says nothing, of the settings. No version: no queue."""

    def close(self) -> None:
        """No more events."""


class Broadcast(EventListener):
    """Passes everything on to several, in their order."""

    def __init__(self, *listeners: EventListener) -> None:
        self._listeners = listeners

    def plan(self, items: int, size: int, bytes_done: int) -> None:
        """To all."""
        for listener in self._listeners:
            listener.plan(items, size, bytes_done)

    def plan_changed(
        self, steps: Sequence[PlanStep], refused: Mapping[str, tuple[Code, str]], titles: Mapping[str, str]
    ) -> None:
        """To all."""
        for listener in self._listeners:
            listener.plan_changed(steps, refused, titles)

    def notice(self, event: str, text: str, **fields: object) -> None:
        """To all."""
        for listener in self._listeners:
            listener.notice(event, text, **fields)

    def item_started(self, campaign: str, content: str, bytes_done: int, size: int) -> None:
        """To all."""
        for listener in self._listeners:
            listener.item_started(campaign, content, bytes_done, size)

    def item_progress(self, campaign: str, content: str, bytes_done: int, size: int, gained: int) -> None:
        """To all."""
        for listener in self._listeners:
            listener.item_progress(campaign, content, bytes_done, size, gained)

    def item_retrying(self, campaign: str, content: str, code: Code, text: str, wait: float) -> None:
        """To all."""
        for listener in self._listeners:
            listener.item_retrying(campaign, content, code, text, wait)

    def item_stopped(self, campaign: str, content: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.item_stopped(campaign, content)

    def item_finished(self, campaign: str, content: str, size: int, *, verified: bool) -> None:
        """To all."""
        for listener in self._listeners:
            listener.item_finished(campaign, content, size, verified=verified)

    def campaign_activated(self, campaign: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.campaign_activated(campaign)

    def item_failed(self, campaign: str, content: str, code: Code, text: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.item_failed(campaign, content, code, text)

    def hook_recovered(self, campaign: str, content: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.hook_recovered(campaign, content)

    def campaign_failed(self, campaign: str, code: Code, text: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.campaign_failed(campaign, code, text)

    def state_changed(self, state: str, reason: str, campaign: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.state_changed(state, reason, campaign)

    def link_changed(self, up: bool, reason: str) -> None:
        """To all."""
        for listener in self._listeners:
            listener.link_changed(up, reason)

    def queue_changed(self, version: int | None, paused: bool, window: str, bandwidth_limit: int | None) -> None:
        """To all."""
        for listener in self._listeners:
            listener.queue_changed(version, paused, window, bandwidth_limit)

    def close(self) -> None:
        """To all."""
        for listener in self._listeners:
            listener.close()


class Redacting(Broadcast):
    """Passes on without secrets: texts of errors, and of the bucket, which may quote what it was sent."""

    def plan_changed(
        self, steps: Sequence[PlanStep], refused: Mapping[str, tuple[Code, str]], titles: Mapping[str, str]
    ) -> None:
        """Reasons and titles."""
        reasons = {name: (code, redact(text)) for name, (code, text) in refused.items()}
        super().plan_changed(steps, reasons, {name: redact(title) for name, title in titles.items()})

    def notice(self, event: str, text: str, **fields: object) -> None:
        """The sentence and the fields that are text."""
        safe = {name: redact(value) if isinstance(value, str) else value for name, value in fields.items()}
        super().notice(event, redact(text), **safe)

    def item_retrying(self, campaign: str, content: str, code: Code, text: str, wait: float) -> None:
        """The error."""
        super().item_retrying(campaign, content, code, redact(text), wait)

    def item_failed(self, campaign: str, content: str, code: Code, text: str) -> None:
        """The error."""
        super().item_failed(campaign, content, code, redact(text))

    def campaign_failed(self, campaign: str, code: Code, text: str) -> None:
        """The error."""
        super().campaign_failed(campaign, code, redact(text))

    def state_changed(self, state: str, reason: str, campaign: str) -> None:
        """The reason."""
        super().state_changed(state, redact(reason), campaign)

    def link_changed(self, up: bool, reason: str) -> None:
        """The reason."""
        super().link_changed(up, redact(reason))
