"""/api/v1/changes/: changes since a revision, for programs.

The view authorises and parses the request and returns the changes that exist. A request that waits for more is left to
`changes_stream`, which wraps the application: a view would occupy a thread and a connection while it waits.
"""

from __future__ import annotations

from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from ifeportal.api.schema import LIST_ERRORS, with_errors
from ifeportal.live.feed_query import DEFAULT_LIMIT, MAX_LIMIT, ChangesPage, ChangesRequest, changes_since
from ifeportal.live.protocol import NAME_LIMIT, Rejected, SubscribeRequest
from ifeportal.live.registry import topic_names
from ifeportal.live.scope import scope_for
from ifeportal.live.sockets.revocation import AccessGrant, Credential, access_snapshot
from ifeportal.models import Token, User
from ifeportal.web.problems import problem

MAX_WAIT: Final = 30  # seconds
SCOPE_KEY: Final = "ifeportal.changes"  # key of the ASGI scope at which the view leaves a request that waits
EVENT_STREAM: Final = "text/event-stream"
# Of one event: the schema of a stream describes each of its events.
EVENT_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "Send the last one as `Last-Event-ID` to resume."},
        "event": {"type": "string"},
        "data": {"type": "string", "description": "JSON."},
    },
    "required": ["data"],
}
TOO_OLD: Final = (
    "Changes since that revision are no longer known. Read the lists again and continue from their X-Revision."
)


class EventStreamRenderer(BaseRenderer):
    """Media type of server-sent events, for content negotiation; the view formats the events."""

    media_type = EVENT_STREAM
    format = "events"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return str(data).encode()


class TopicField(serializers.ChoiceField):
    """One of the topics, which are read when a serializer is created: not all are registered at import."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=sorted(topic_names()), **options)


class TopicsField(serializers.MultipleChoiceField):
    """Any number of the topics."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=sorted(topic_names()), **options)


class ChangesQuerySerializer(serializers.Serializer[Any]):
    """Query parameters of the changes."""

    since = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=2**63 - 1,
        help_text="Return changes after this revision. Without it, return only the current revision.",
    )
    wait = serializers.IntegerField(
        required=False, min_value=0, max_value=MAX_WAIT, help_text="Seconds to wait for a change if there is none yet."
    )
    limit = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_LIMIT,
        help_text="Changes per page. A revision is never split.",
    )
    airline = serializers.CharField(required=False, max_length=NAME_LIMIT)
    tail = serializers.CharField(required=False, max_length=NAME_LIMIT)
    campaign = serializers.CharField(required=False, max_length=NAME_LIMIT)
    topic = TopicsField(required=False, help_text="Can be repeated; all topics if missing.")


@extend_schema_serializer(component_name="ChangeRow")
class ChangeSerializer(serializers.Serializer[Any]):
    """The newest state of one object, however often it changed."""

    topic = TopicField()
    object = serializers.IntegerField(help_text="The ID of the row in the list of that topic.")
    op = serializers.ChoiceField(choices=["put", "delete"])
    state = serializers.DictField(help_text="The row as its list shows it; empty if it was deleted.")


@extend_schema_serializer(component_name="ChangesAnswer")
class ChangesPageSerializer(serializers.Serializer[Any]):
    """Changes, and the revision to continue from."""

    rev = serializers.IntegerField(help_text="Use this as `since` in the next request.")
    more = serializers.BooleanField(help_text="More changes are available: send the next request immediately.")
    changes = ChangeSerializer(many=True)


class ChangesView(APIView):
    """The feed of changes, for programs."""

    renderer_classes = [JSONRenderer, EventStreamRenderer]

    def get_throttles(self) -> list[BaseThrottle]:
        """Return no throttles for the recheck of an open stream, which is not a request of its own."""
        waiting = changes_request_of(self.request)
        return [] if waiting is not None and waiting.is_recheck else super().get_throttles()

    @extend_schema(
        operation_id="changes",
        summary="Follow changes",
        description="Responds immediately if anything has changed after `since`; otherwise waits up to `wait` seconds. "
        "With `Accept: text/event-stream` the connection stays open. Each event has the same JSON as a response, and "
        "its id is the revision. To resume, send that id as `Last-Event-ID`. After an event `reload`, read the lists "
        "again.",
        tags=["changes"],
        parameters=[
            ChangesQuerySerializer,
            OpenApiParameter(
                "Last-Event-ID", int, OpenApiParameter.HEADER, description="Takes precedence over `since`."
            ),
        ],
        responses={
            (200, "application/json"): ChangesPageSerializer,
            (200, EVENT_STREAM): OpenApiResponse(EVENT_SCHEMA, "Server-sent events."),
        },
        extensions=with_errors(
            {
                "400": LIST_ERRORS["400"],
                "404": "The airline does not exist, or you cannot see it.",
                "410": "Changes since then are no longer known: read the lists again.",
            }
        ),
    )
    def get(self, request: Request) -> HttpResponse:
        """Return the changes; for a request that waits, return nothing and leave it to `changes_stream`."""
        query = self._parse(request)
        waiting = changes_request_of(request)
        if waiting is not None and (query.stream or (query.wait and query.since is not None)):
            request._request.scope[SCOPE_KEY] = query  # type: ignore[attr-defined]  # it is an ASGIRequest
            return _page_response(ChangesPage(0), stream=query.stream)
        page = changes_since(query)
        return too_old_response(request.path) if page is None else _page_response(page, stream=query.stream)

    def _parse(self, request: Request) -> ChangesRequest:
        """Raises ValidationError, and Http404 for an airline the user cannot see."""
        parameters = ChangesQuerySerializer(data=request.query_params)
        parameters.is_valid(raise_exception=True)
        asked = parameters.validated_data
        stream = isinstance(request.accepted_renderer, EventStreamRenderer)
        topics = frozenset(asked.get("topic") or topic_names())
        watch = SubscribeRequest(
            asked.get("airline"), asked.get("tail", ""), asked.get("campaign", ""), topics, None, acks=False
        )
        assert isinstance(request.user, User)
        grant = None
        if changes_request_of(request) is not None:
            grant = AccessGrant(credential_of(request), access_snapshot(request.user))
        try:
            scope = scope_for(request.user, watch)
        except Rejected as refused:
            raise Http404 from refused
        since = last_event_id(request) if stream and "Last-Event-ID" in request.headers else asked.get("since")
        limit, wait = asked.get("limit", DEFAULT_LIMIT), asked.get("wait", 0)
        return ChangesRequest(
            user=request.user,
            grant=grant,
            scope=scope,
            since=since,
            limit=limit,
            wait=wait,
            stream=stream,
        )


def changes_request_of(request: Request | HttpRequest) -> ChangesRequest | None:
    """Return what `changes_stream` left in the scope of this request; None if it does not wrap the application."""
    connection: dict[str, Any] = getattr(getattr(request, "_request", request), "scope", {})
    return connection.get(SCOPE_KEY)


def credential_of(request: Request) -> Credential:
    if isinstance(request.auth, Token):
        return Credential(token=request.auth.pk)
    session = getattr(request._request, "session", None)
    return Credential(session=session.session_key if session is not None else None)


def last_event_id(request: Request) -> int:
    value = request.headers["Last-Event-ID"].strip()
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise ValidationError({"Last-Event-ID": ["Use the id of an event that was sent."]})
    return int(value)


def page_json(page: ChangesPage) -> str:
    more = "true" if page.more else "false"
    return f'{{"rev":{page.rev},"more":{more},"changes":[{",".join(page.texts)}]}}'


def page_event(page: ChangesPage) -> str:
    """Return the page as one server-sent event; `page_json` has no line breaks, which would end the data."""
    return f"id: {page.rev}\ndata: {page_json(page)}\n\n"


def too_old_response(path: str) -> HttpResponse:
    """Return a 410: the client must read the lists again."""
    return problem(410, TOO_OLD, path, kind="start-anew")


def _page_response(page: ChangesPage, *, stream: bool) -> HttpResponse:
    response = HttpResponse(
        page_event(page) if stream else page_json(page), content_type=EVENT_STREAM if stream else "application/json"
    )
    response["Cache-Control"] = "no-store"
    patch_vary_headers(response, ["Accept", "Authorization", "Cookie"])
    return response
