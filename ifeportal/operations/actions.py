"""Cancelling and retrying an operation, as a page or a program requests it. Touches the database only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal
from uuid import UUID

from django.contrib.auth.models import AbstractUser, AnonymousUser

from ifeportal.access import Role, role_or_403, visible_or_404
from ifeportal.audit import Actor
from ifeportal.operations import requests
from ifeportal.operations.kinds import registered_kinds
from ifeportal.operations.models import Operation, OperationState
from ifeportal.operations.queries import visible_operations
from ifeportal.operations.requests import RequestRejected

Action = Literal["cancel", "retry"]


def find_for_action(user: AbstractUser | AnonymousUser, uuid: UUID | str) -> Operation:
    """Return the operation, if the user has the role of its kind; of an unknown kind, the manager's.

    Raises Http404 if the user may not see it, PermissionDenied if the user may not change it.
    """
    rows = visible_operations(user)
    row = visible_or_404(rows, user, uuid=uuid)
    kind = registered_kinds().get(row.kind)
    return role_or_403(rows, user, kind.role if kind else Role.MANAGER, pk=row.pk)


def perform(action: Action, operation: Operation, actor: Actor) -> Operation:
    """Cancel or retry the operation, and return its row. Repeating a request that was accepted changes nothing.

    Raises RequestRejected.
    """
    if operation.kind not in registered_kinds():
        raise RequestRejected(f"The portal has no operations of the kind “{operation.kind}” any more.")
    request, is_done = _ACTIONS[action]
    try:
        request(operation, actor)
    except RequestRejected:
        operation.refresh_from_db()
        if not is_done(operation):
            raise
    operation.refresh_from_db()
    return operation


def _is_cancelled(operation: Operation) -> bool:
    is_ending = operation.is_open and operation.cancel_requested_at is not None
    return is_ending or operation.state == OperationState.CANCELLED


def _is_queued(operation: Operation) -> bool:
    return operation.is_open and operation.cancel_requested_at is None


_ACTIONS: Final[dict[Action, tuple[Callable[[Operation, Actor], None], Callable[[Operation], bool]]]] = {
    "cancel": (lambda operation, actor: requests.cancel(operation, actor), _is_cancelled),
    "retry": (lambda operation, actor: requests.retry(operation, actor), _is_queued),
}
