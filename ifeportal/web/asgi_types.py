"""Types of an ASGI application, named as in the ASGI specification."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

ASGIMessage = Mapping[str, Any]
Receive = Callable[[], Awaitable[ASGIMessage]]
Send = Callable[[ASGIMessage], Awaitable[None]]
ASGIApplication = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]
