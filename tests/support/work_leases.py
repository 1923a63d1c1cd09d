"""A work lease with scripted methods."""

from __future__ import annotations

from collections.abc import Callable


class ScriptedLease:
    """A `WorkLease` that calls `on_heartbeat` and `on_check_fence`, each of which may raise."""

    def __init__(
        self, on_heartbeat: Callable[[], object] | None = None, on_check_fence: Callable[[], object] | None = None
    ) -> None:
        self._on_heartbeat, self._on_check_fence = on_heartbeat, on_check_fence

    def heartbeat(self) -> None:
        if self._on_heartbeat is not None:
            self._on_heartbeat()

    def check_fence(self) -> None:
        if self._on_check_fence is not None:
            self._on_check_fence()
