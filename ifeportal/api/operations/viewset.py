"""Operations in the API: lists, one operation with long poll and events, cancel and retry."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.cache import patch_vary_headers
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle

from ifeportal.api.changes import (
    EVENT_SCHEMA,
    EVENT_STREAM,
    EventStreamRenderer,
    changes_request_of,
    credential_of,
    last_event_id,
)
from ifeportal.api.changes import SCOPE_KEY as WAITING_KEY
from ifeportal.api.operations.filters import OperationFilter
from ifeportal.api.operations.requests import Condition, OperationRequest, WaitSerializer
from ifeportal.api.operations.serializers import OperationSerializer
from ifeportal.api.operations.stream import end_event, state_events
from ifeportal.api.schema import with_errors, with_summaries
from ifeportal.api.viewsets import ReadOnlyViewSet
from ifeportal.audit import Actor
from ifeportal.live.feed import current_rev
from ifeportal.live.models import Change
from ifeportal.live.protocol import SubscribeRequest
from ifeportal.live.scope import Scope, scope_for
from ifeportal.live.sockets.revocation import AccessGrant, access_snapshot
from ifeportal.models import User
from ifeportal.operations.actions import Action, find_for_action, perform
from ifeportal.operations.models import Operation, OperationQuerySet
from ifeportal.operations.queries import set_positions, visible_operations
from ifeportal.operations.requests import RequestRejected
from ifeportal.operations.serialization import operation_state

TOPIC: Final = "operation"
LOOKUP: Final = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
BAD_WAIT: Final = {"400": "A parameter is invalid: see `errors`."}
CONFLICT: Final = {"409": "The operation cannot do this in its state. `detail` says why."}


class NotPossible(APIException):
    """The operation is not in a state that allows the action (HTTP 409)."""

    status_code = 409


@extend_schema_view(retrieve=extend_schema(parameters=[WaitSerializer], extensions=with_errors(BAD_WAIT)))
@with_summaries("operations", "List operations", "Get an operation, or wait for a change of it")
class OperationViewSet(ReadOnlyViewSet[Operation]):
    """Work that users requested, of all kinds: newest first."""

    queryset: OperationQuerySet = Operation.objects.all()
    serializer_class = OperationSerializer
    filterset_class = OperationFilter
    lookup_field = "uuid"
    lookup_url_kwarg = "id"
    lookup_value_regex = LOOKUP
    search_fields = ["title", "user__username", "error_code", "error"]
    default_ordering = ["-created_at"]
    newest_first = True
    orderings = {
        "created_at": "created_at",
        "started_at": "started_at",
        "finished_at": "finished_at",
        "as_of": "updated_at",
        "airline": "airline__name",
        "user": "user__username",
        "kind": "kind",
        "title": "title",
        "state": "state",
        "bytes_done": "bytes_done",
        "bytes_total": "bytes_total",
    }

    def get_queryset(self) -> QuerySet[Operation]:
        """Return the operations of the user's airlines."""
        return visible_operations(self.request.user)

    def get_throttles(self) -> list[BaseThrottle]:
        """Return no throttles for the recheck of a request that waits, which is not a request of its own."""
        waiting = changes_request_of(self.request)
        return [] if waiting is not None and waiting.is_recheck else super().get_throttles()

    def paginate_queryset(self, queryset: Any) -> list[Any] | None:
        """Return a page of operations, with their positions in the queue."""
        rows: list[Any] = list(super().paginate_queryset(queryset) or [])
        set_positions(rows)
        return rows

    def get_object(self) -> Operation:
        """Return the operation with its position in the queue. Raises Http404."""
        row: Operation = super().get_object()
        set_positions([row])
        return row

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter and order a list. One operation is found by its id alone: `status` is the condition of its wait."""
        return super().filter_queryset(queryset) if self.action == "list" else queryset

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the operation. A request that waits is left to `operations.stream`. Raises ValidationError."""
        parameters = WaitSerializer(data=request.query_params)
        parameters.is_valid(raise_exception=True)
        asked = parameters.validated_data
        condition = Condition(asked.get("status", ""), asked.get("as_of"))
        rev = current_rev()  # before the row
        row = self.get_object()
        response = self._with_etag(rev, [row], None, lambda: Response(operation_state(row)))
        if "wait" in asked and row.is_open and self._is_current(request, response, condition, row):
            is_conditional = bool(condition) or "If-None-Match" in request.headers
            self._leave_to_wait(request, row, since=rev, wait=asked["wait"], is_conditional=is_conditional)
        return response

    @staticmethod
    def _is_current(request: Request, response: Response, condition: Condition, row: Operation) -> bool:
        is_same = "If-None-Match" not in request.headers or response.status_code == 304
        return is_same and condition.is_current(operation_state(row))

    @extend_schema(
        operation_id="operations_events",
        summary="Follow an operation by server-sent events",
        description="Sends `event: state` with the operation as JSON, first as it is and then after each change, at "
        "most once a second, and `event: end` when nothing more comes. To resume, send the id of the last event as "
        "`Last-Event-ID`. A comment comes at least every 15 s.",
        tags=["operations"],
        parameters=[OpenApiParameter("Last-Event-ID", int, OpenApiParameter.HEADER)],
        responses={(200, EVENT_STREAM): OpenApiResponse(EVENT_SCHEMA, "Server-sent events.")},
        extensions=with_errors(BAD_WAIT),
        filters=False,
    )
    @action(detail=True, methods=["get"], renderer_classes=[EventStreamRenderer, JSONRenderer], pagination_class=None)
    def events(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the state as events; further ones are left to `operations.stream`. Raises ValidationError."""
        last = last_event_id(request) if "Last-Event-ID" in request.headers else None
        rev = current_rev()
        row = self.get_object()
        events = state_events(rev, operation_state(row))
        if last is not None and self._is_known(row, last, rev):
            events = "" if row.is_open else end_event(rev)
        self._leave_to_wait(request, row, since=rev, stream=True, events=events, has_ended=not row.is_open)
        response = HttpResponse(events, content_type=EVENT_STREAM)
        response["Cache-Control"] = "no-store"
        patch_vary_headers(response, ["Accept", "Authorization", "Cookie"])
        return response

    @staticmethod
    def _is_known(row: Operation, last: int, rev: int) -> bool:
        """Return whether the client that received the event `last` knows the row as it is."""
        changed = Change.objects.filter(topic=TOPIC, object=row.pk).values_list("rev", flat=True).first()
        return changed is not None and changed <= last <= rev

    def _leave_to_wait(self, request: Request, row: Operation, **asked: Any) -> None:
        """Leave the request to `operations.stream`, if that wraps the application."""
        user = request.user
        assert isinstance(user, User)
        if changes_request_of(request) is None:
            return
        grant = AccessGrant(credential_of(request), access_snapshot(user))
        left = OperationRequest(user=user, grant=grant, scope=_scope(user, row), **asked)
        request._request.scope[WAITING_KEY] = left  # type: ignore[attr-defined]  # it is an ASGIRequest

    @extend_schema(
        operation_id="operations_cancel",
        summary="Cancel an operation",
        description="For users with the role of the kind. A worker cleans up and ends the operation. Repeating the "
        "request changes nothing.",
        tags=["operations"],
        request=None,
        responses={202: OperationSerializer},
        extensions=with_errors(CONFLICT),
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Request the end of the operation. Raises Http404, PermissionDenied, NotPossible."""
        return self._perform("cancel", request)

    @extend_schema(
        operation_id="operations_retry",
        summary="Retry an operation",
        description="For users with the role of the kind. A failed, cancelled or expired operation is queued again and "
        "resumes where it stopped. Repeating the request changes nothing.",
        tags=["operations"],
        request=None,
        responses={202: OperationSerializer},
        extensions=with_errors(CONFLICT),
    )
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Queue the operation again. Raises Http404, PermissionDenied, NotPossible."""
        return self._perform("retry", request)

    def _perform(self, word: Action, request: Request) -> Response:
        try:
            row = find_for_action(request.user, self.kwargs["id"])
            row = perform(word, row, Actor.of(request))
        except RequestRejected as error:
            raise NotPossible(str(error)) from error
        set_positions([row])
        return Response(operation_state(row), status=202)


def _scope(user: User, row: Operation) -> Scope:
    """Return the part of the feed that concerns this operation, which the user may see."""
    watch = SubscribeRequest(row.airline.name, "", "", frozenset({TOPIC}), None, acks=False)
    scope = scope_for(user, watch)
    return Scope(scope.airlines, "", "", scope.topics, scope.user, scope.roles, object=row.pk)
