"""Events of the loader, the interface of their listeners, and a listener that forwards to several. Pure.

Events come from any thread and listeners must return at once: `ItemProgress` is sent for every chunk of every transfer.
Sizes are in bytes, times in seconds.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, replace
from typing import ClassVar, Self

from loader.contract.item_reports import one_line
from loader.contract.names import TGZ
from loader.contract.units import format_size
from loader.errors import Code
from loader.frozen import frozen
from loader.planning.model import PlanStep
from loader.s3.auth.redaction import redact

log = logging.getLogger("loader")


def format_items(count: int | None) -> str:
    return "1 item" if count == 1 else f"{count} items"


@frozen
class Event:
    """Something that happened in the loader.

    A class that sets `_WORD` is printed: as its `sentence`, or with `--json` with this word and its fields.
    """

    _WORD: ClassVar[str] = ""
    _TEXTS: ClassVar[tuple[str, ...]] = ()  # fields that may quote an error, and with it a secret
    _NOT_IN_JSON: ClassVar[tuple[str, ...]] = ()

    @property
    def word(self) -> str:
        return self._WORD

    @property
    def sentence(self) -> str:
        return ""

    def json_fields(self) -> dict[str, object]:
        names = (each.name for each in fields(self) if each.name not in self._NOT_IN_JSON)
        values = {name: getattr(self, name) for name in names}
        return values | {name: one_line(values[name]) for name in self._TEXTS}

    def redacted(self) -> Self:
        """Return the event without secrets in its texts."""
        if not self._TEXTS:
            return self
        return replace(self, **{name: redact(getattr(self, name)) for name in self._TEXTS})


@frozen
class Notice(Event):
    """Anything that has no class of its own: a word, a sentence and further JSON fields."""

    event: str
    text: str
    extra: Mapping[str, object]

    @property
    def word(self) -> str:
        return self.event

    @property
    def sentence(self) -> str:
        return self.text

    def json_fields(self) -> dict[str, object]:
        return dict(self.extra)

    def redacted(self) -> Self:
        extra = {name: redact(value) if isinstance(value, str) else value for name, value in self.extra.items()}
        return replace(self, text=redact(self.text), extra=extra)


@frozen
class PlanStarted(Event):
    """The loader starts on a plan with work: items of `size` bytes together, `bytes_done` of them on disk."""

    _WORD = "plan"
    items: int
    size: int
    bytes_done: int

    @property
    def sentence(self) -> str:
        on_disk = f", {format_size(self.bytes_done)} already on disk" if self.bytes_done else ""
        return f"{format_items(self.items)} to load, {format_size(self.size)}{on_disk}"

    def json_fields(self) -> dict[str, object]:
        return {"items": self.items, "bytes": self.size, "begun": self.bytes_done}


@frozen
class PlanChanged(Event):
    """A new plan: all its steps, also those that need no work.

    `refused`: code and sentence of each campaign that cannot be loaded at all. `titles`: of campaigns.
    """

    steps: Sequence[PlanStep]
    refused: Mapping[str, tuple[Code, str]]
    titles: Mapping[str, str]

    def redacted(self) -> Self:
        refused = {name: (code, redact(text)) for name, (code, text) in self.refused.items()}
        return replace(self, refused=refused, titles={name: redact(title) for name, title in self.titles.items()})


@frozen
class ItemEvent(Event):
    """Something that happened to one item."""

    campaign: str
    content: str

    @property
    def key(self) -> tuple[str, str]:
        return self.campaign, self.content

    @property
    def path(self) -> str:
        return f"{self.campaign}/{self.content}{TGZ}"


@frozen
class ItemStarted(ItemEvent):
    """A transfer begins with `bytes_done` bytes on disk."""

    _WORD = "began"
    bytes_done: int
    bytes_total: int

    @property
    def sentence(self) -> str:
        start = f", resuming at {format_size(self.bytes_done)}" if self.bytes_done else ""
        return f"{self.path}: loading {format_size(self.bytes_total)}{start}"


@frozen
class ItemProgress(ItemEvent):
    """A chunk arrived; `gained` bytes came since the last event."""

    _WORD = "progress"
    _NOT_IN_JSON = ("gained",)
    bytes_done: int
    bytes_total: int
    gained: int

    @property
    def sentence(self) -> str:
        return f"{self.path}: {10 * self.bytes_done // max(1, self.bytes_total)}0 %"


@frozen
class ItemRetrying(ItemEvent):
    """An attempt failed; another follows in `seconds`."""

    _WORD = "retrying"
    _TEXTS = ("error",)
    code: Code
    error: str
    seconds: float

    @property
    def sentence(self) -> str:
        return f"{self.path}: {self.code}: {self.error}; retry in {self.seconds:.1f} s"


@frozen
class ItemStopped(ItemEvent):
    """The transfer was preempted or cancelled; its bytes stay on disk."""


@frozen
class ItemFinished(ItemEvent):
    """The item is complete; if its step said `staged`, not yet under its final name."""

    _WORD = "finished"
    bytes_total: int
    verified: bool = field(kw_only=True)

    @property
    def sentence(self) -> str:
        check = "verified" if self.verified else "size-checked"
        return f"{self.path}: complete, {format_size(self.bytes_total)}, {check}"


@frozen
class ItemFailed(ItemEvent):
    """The item failed; a later plan may load it."""

    _WORD = "failed"
    _TEXTS = ("error",)
    code: Code
    error: str

    @property
    def sentence(self) -> str:
        return f"{self.path}: failed: {self.code}: {self.error}"


@frozen
class HookRecovered(ItemEvent):
    """The command after loading succeeded for the item after an earlier failure."""


@frozen
class CampaignActivated(Event):
    """The campaign is complete and every item has its final name."""

    campaign: str


@frozen
class CampaignFailed(Event):
    """The campaign cannot be loaded at all, or its command failed."""

    _WORD = "campaign_failed"
    _TEXTS = ("error",)
    campaign: str
    code: Code
    error: str

    @property
    def sentence(self) -> str:
        return f"{self.campaign}: failed: {self.code}: {self.error}"


@frozen
class LoaderState(Event):
    """State of the loader, in the words of the heartbeat."""

    _WORD = "state"
    _TEXTS = ("reason",)
    _NOT_IN_JSON = ("campaign",)
    state: str = "idle"
    reason: str = ""
    campaign: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.state}: {self.reason}" if self.reason else self.state


@frozen
class LinkChanged(Event):
    """Whether the link may be used, and why not."""

    _TEXTS = ("reason",)
    up: bool = True
    reason: str = ""


@frozen
class QueueState(Event):
    """Current limits: those of the transfer queue, else those of the settings.

    `version` is None without a queue; `bandwidth_limit` is in bytes per second.
    """

    version: int | None = None
    paused: bool = False
    window: str = ""
    bandwidth_limit: int | None = None


class EventListener(ABC):
    """Receives events."""

    @abstractmethod
    def handle(self, event: Event) -> None:
        """Take the event and return at once."""

    def notice(self, event: str, text: str, **extra: object) -> None:
        self.handle(Notice(event, text, extra))


class Broadcast(EventListener):
    """Forwards every event, without secrets, to several listeners in their order."""

    def __init__(self, *listeners: EventListener) -> None:
        self._listeners = listeners
        self._failed: set[int] = set()  # positions

    def handle(self, event: Event) -> None:
        safe = event.redacted()
        for position, listener in enumerate(self._listeners):
            try:
                listener.handle(safe)
            except Exception:
                # The edge of the loader: no display may stop a load. Logged once, as events come in great numbers.
                if position not in self._failed:
                    self._failed.add(position)
                    log.exception("Failed to show %s", type(safe).__name__)
