"""Long poll and event stream of one operation, without a thread or a connection for each client.

The view authorises the request, reads the operation and returns an `OperationRequest`; from then on the feed of this
process tells of changes. A long poll is answered by the view itself, so the answer has everything a plain GET has.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any, Final

from ifeportal.api.changes_stream import ChangesStream, Follower, StreamEnded, disconnection
from ifeportal.api.operations.requests import OperationRequest
from ifeportal.live.connections import in_thread
from ifeportal.live.feed_query import ChangesPage, changes_since
from ifeportal.live.subscription import Batch
from ifeportal.operations.models import OPEN_STATES, Operation, OperationState
from ifeportal.operations.queries import set_positions
from ifeportal.web.asgi_types import ASGIMessage, Receive

PATHS: Final = re.compile(r"/api/v1/operations/[0-9a-f-]{36}/(events/)?")


class OperationStream(ChangesStream):
    """Wraps the application and serves the requests that wait for one operation."""

    def serves(self, path: str) -> bool:
        """Return whether a GET of this path may wait."""
        return PATHS.fullmatch(path) is not None

    @property
    def follower(self) -> type[Follower]:
        """The class that answers a request that waits."""
        return OperationFollower


class OperationFollower(Follower):
    """Follows the feed of one operation for one request that waits."""

    async def respond(self, receive: Receive) -> None:
        """Subscribe before reading what was missed, so that no change falls between the two."""
        await self._reader.attach(self._subscription)
        missed = await in_thread(changes_since, self._request)
        with disconnection(receive) as left:
            if self._request.stream:
                await self._stream(missed or ChangesPage(self._request.since or 0), left)
            else:
                await self._wait_for_answer(missed, left)

    async def _wait_for_answer(self, missed: ChangesPage | None, left: asyncio.Future[None]) -> None:
        """Answer once the operation differs from what the client knows, or after the requested time."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._request.wait
        has_changed = missed is None or bool(missed.texts)
        self._subscription.begin(missed.rev if missed else self._request.since or 0)
        while not left.done():
            is_over = clock() >= end or self._subscription.closed
            if has_changed or self._recheck_due or is_over:
                messages = await self._ask(has_changed=has_changed, is_over=is_over)
                if messages:
                    await self._response.send_messages(messages)
                    return
            await self._wait(end - clock(), left)
            has_changed = self._subscription.take(self._reader.rev) is not None

    async def _ask(self, *, has_changed: bool, is_over: bool) -> Sequence[ASGIMessage]:
        """Have the view answer again; return its answer, or nothing if the client waits on."""
        self._recheck_due = False
        request, messages = await self._authorise(again=True)
        is_waiting = request.scope is not None
        is_answer = is_over or not is_waiting or (has_changed and not self._is_conditional)
        return messages if is_answer else ()

    @property
    def _is_conditional(self) -> bool:
        return isinstance(self._request, OperationRequest) and self._request.is_conditional

    async def _catch_up(self, page: ChangesPage) -> int:
        """Send the state that the view read, then what changed since. Raises StreamEnded."""
        assert isinstance(self._request, OperationRequest)
        if self._request.events:
            await self._response.send_text(self._request.events)
        if self._request.has_ended:
            raise StreamEnded
        await self._send_texts(page.rev, page.texts)
        return page.rev

    async def _send_pending(self) -> None:
        while (batch := self._subscription.take(self._reader.rev)) is not None:
            await self._send_batch(batch)

    async def _send_batch(self, batch: Batch) -> None:
        if batch.reload:  # the client reconnects and receives the state as it is
            raise StreamEnded
        await self._send_texts(batch.rev, batch.texts)

    async def _send_texts(self, rev: int, texts: Sequence[str]) -> None:
        """Send the newest of these changes. Raises StreamEnded after the last one of an operation."""
        if not texts:
            return
        change = json.loads(texts[-1])
        if change["op"] == "delete":
            await self._response.send_text(end_event(rev))
            raise StreamEnded
        state = await _with_position(change["object"], change["state"])
        await self._response.send_text(state_events(rev, state))
        if has_ended(state):
            raise StreamEnded


async def _with_position(pk: int, state: dict[str, Any]) -> dict[str, Any]:
    """Return the state with the place in the queue, if the feed has none."""
    if state.get("state") != OperationState.QUEUED or state.get("position") is not None:
        return state
    return {**state, "position": await in_thread(_position, pk)}


def _position(pk: int) -> int | None:
    row = Operation(pk=pk, state=OperationState.QUEUED)
    set_positions([row])
    return row.queue_position


def has_ended(state: dict[str, Any]) -> bool:
    return state.get("state") not in OPEN_STATES


def state_events(rev: int, state: dict[str, Any]) -> str:
    """Return the event of a state, followed by the last event if the operation has ended."""
    data = json.dumps(state, separators=(",", ":"))  # without line breaks, which would end the data
    event = f"id: {rev}\nevent: state\ndata: {data}\n\n"
    return event + end_event(rev) if has_ended(state) else event


def end_event(rev: int) -> str:
    """Return the last event: nothing more comes."""
    return f"id: {rev}\nevent: end\ndata: {{}}\n\n"
