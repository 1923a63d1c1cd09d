"""What the operator wants done once something is loaded: what is owed, when it is run, how the ground hears of it.

Brings `loader.owed` (what is owed), `loader.hooks` (the command) and the reports together. Its failure is an error of
that item, or of that campaign, until it was run well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from loader.errors import WorldError
from loader.hooks import Hooks
from loader.monitor.events import Listener
from loader.owed import Ledger, Owed
from loader.reporting.reporter import StatusWriter
from loader.storage.content_store import Store


class Errands:
    """For one run of the loader. Methods return at once and may be called from any thread."""

    def __init__(
        self,
        command: Sequence[str],
        timeout: float,
        stores: Sequence[Store],
        status: StatusWriter,
        listener: Listener,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Without a command nothing is ever owed. `changed` is called when a run of it has ended."""
        self._status, self._listener, self._changed = status, listener, changed
        self._ledgers = [Ledger(store.path) for store in stores] if command else []
        self._hooks = Hooks(command, timeout, self._done)
        self._failed: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._begun = False

    def loaded(self, campaign: str, content: str, store: int) -> None:
        """An item, or ("" for its content) all of a campaign, is durable."""
        if content:
            for ledger in self._ledgers[store : store + 1]:
                self._submit(partial(ledger.item, campaign, content))
        else:
            for ledger in self._ledgers:
                self._submit(partial(ledger.owed, campaign))

    def look(self) -> None:
        """Run what failed some time ago again; the first time, everything that earlier runs of the loader left."""
        for ledger in self._ledgers if not self._begun else ():
            self._submit(ledger.owed)
        self._begun = True
        self._hooks.look()

    def removed(self, campaign: str) -> None:
        """Items of it are not aboard any more: what is noted of them is forgotten."""
        for ledger in self._ledgers:
            try:
                ledger.tidy(campaign)
            except WorldError as error:
                self._listener.say("command", f"What was run for {campaign} cannot be noted: {error}", code=error.code)
        try:
            owed = {(one.campaign, one.content) for ledger in self._ledgers for one in ledger.owed(campaign)}
        except WorldError:
            return
        with self._lock:
            self._failed = {one for one in self._failed if one[0] != campaign or one in owed}

    def failed(self, campaign: str, content: str = "") -> bool:
        """Whether the command failed for it, and was not yet run well."""
        with self._lock:
            return (campaign, content) in self._failed

    @property
    def any_failed(self) -> bool:
        """Whether it failed for anything."""
        with self._lock:
            return bool(self._failed)

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits to be run."""
        return self._hooks.idle

    def close(self, seconds: float) -> None:
        """End what runs; what was not done stays owed."""
        self._hooks.close(seconds)

    def _submit(self, find: Callable[[], list[Owed]]) -> None:
        try:
            self._hooks.submit(find())
        except WorldError as error:
            self._listener.say("command", f"What is owed cannot be read: {error}", code=error.code)

    def _done(self, owed: Owed, error: WorldError | None) -> None:
        """Called by the thread of the hooks."""
        if error is None:
            error = self._settle(owed)
        with self._lock:
            (self._failed.discard if error is None else self._failed.add)((owed.campaign, owed.content))
        self._tell(owed, error)
        self._changed()

    def _settle(self, owed: Owed) -> WorldError | None:
        try:
            for ledger in self._ledgers:
                if ledger.keeps(owed):
                    ledger.settle(owed)
        except WorldError as error:
            return error
        return None

    def _tell(self, owed: Owed, error: WorldError | None) -> None:
        campaign, content = owed.campaign, owed.content
        if error is None and content:
            self._status.no_error(campaign, content)
            self._listener.well(campaign, content)
        elif error is None:
            self._status.no_campaign_error(campaign)
        elif content:
            self._status.error(campaign, content, error.code, str(error))
            self._listener.failed(campaign, content, error.code, str(error))
        else:
            self._status.campaign_error(campaign, error.code, str(error))
            self._listener.campaign_failed(campaign, error.code, str(error))
