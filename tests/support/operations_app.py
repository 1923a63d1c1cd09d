"""The portal's ASGI application with the kind of operation of `tests.support.operation_rows`, for browser tests."""

from __future__ import annotations

import ifeportal.asgi as portal
from ifeportal.operations.kinds import register
from tests.support.operation_rows import CHORE

application = portal.application
register(CHORE)
