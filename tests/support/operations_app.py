"""The portal's ASGI application with the kind of operation of `tests.support.operation_rows`, for browser tests.

Cancelling ends an operation at once, because no worker runs.
"""

from __future__ import annotations

import ifeportal.asgi as portal
from ifeportal.audit import Actor
from ifeportal.operations import requests
from ifeportal.operations.kinds import register
from ifeportal.operations.models import Operation
from tests.support import operation_rows as operations

application = portal.application


def _cancel(operation: Operation, actor: Actor) -> None:
    operations.cancel(operation, actor)
    operations.tell(operation, state="cancelled")


register(operations.CHORE)
requests.cancel = _cancel
requests.retry = operations.retry
