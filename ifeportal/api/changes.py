"""/api/v1/changes/: changes since a revision, for programs.

The view authorises, parses the request and returns the changes that exist. A request that waits for more is handed to
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
from ifeportal.models import User
from ifeportal.web.problems import problem

MAX_WAIT: Final = 30  # seconds
SCOPE_KEY: Final = "ifeportal.hearing"  # where in the connection's scope a question may be left to wait
EVENT_STREAM: Final = "text/event-stream"
TOO_OLD: Final = "What changed since then is no longer known. Read the lists anew and go on from their X-Revision."


class EventStreamRenderer(BaseRenderer):
    """Server-sent events; the view writes them itself."""

    media_type = EVENT_STREAM
    format = "events"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        """Nothing comes here but what is text already."""
        return str(data).encode()


class TopicField(serializers.ChoiceField):
    """One of the topics; which there are is looked up when a serializer is made, not when this module is imported."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=sorted(topic_names()), **options)


class TopicsField(serializers.MultipleChoiceField):
    """Any of the topics."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=sorted(topic_names()), **options)


class ChangesQuerySerializer(serializers.Serializer[Any]):
    """What may be asked."""

    since = serializers.IntegerField(
        required=False, min_value=0, max_value=2**63 - 1, help_text="A revision; without it the present one is told."
    )
    wait = serializers.IntegerField(
        required=False, min_value=0, max_value=MAX_WAIT, help_text="Seconds to wait for a change if there is none."
    )
    limit = serializers.IntegerField(
        required=False, min_value=1, max_value=MAX_LIMIT, help_text="Changes at most; a revision is never cut in two."
    )
    airline = serializers.CharField(required=False, max_length=NAME_LIMIT)
    tail = serializers.CharField(required=False, max_length=NAME_LIMIT)
    campaign = serializers.CharField(required=False, max_length=NAME_LIMIT)
    topic = TopicsField(required=False, help_text="May be given several times; all if missing.")


@extend_schema_serializer(component_name="ChangeRow")
class ChangeSerializer(serializers.Serializer[Any]):
    """The newest state of one object; a thousand changes of it in between are this one."""

    topic = TopicField()
    object = serializers.IntegerField(help_text="The id of the row in the list of that topic.")
    op = serializers.ChoiceField(choices=["put", "delete"])
    state = serializers.DictField(help_text="The row, as its list shows it; empty for one that was deleted.")


@extend_schema_serializer(component_name="ChangesAnswer")
class ChangesPageSerializer(serializers.Serializer[Any]):
    """What changed."""

    rev = serializers.IntegerField(help_text="For `since` of the next question.")
    more = serializers.BooleanField(help_text="There are further changes: ask again at once.")
    changes = ChangeSerializer(many=True)


class ChangesView(APIView):
    """The feed of changes, for programs."""

    renderer_classes = [JSONRenderer, EventStreamRenderer]

    def get_throttles(self) -> list[BaseThrottle]:
        """To see whether an open stream may go on is no request of its own."""
        hearing = changes_request_of(self.request)
        return [] if hearing is not None and hearing.is_recheck else super().get_throttles()

    @extend_schema(
        operation_id="changes",
        summary="Follow what changes",
        description="Answers at once if anything has changed since `since`, else waits up to `wait` seconds. With "
        "`Accept: text/event-stream` the connection stays open: each event is an answer like the JSON one, its id the "
        "revision to go on from, which `Last-Event-ID` says after a break; an event `reload` asks to read the lists "
        "anew.",
        tags=["changes"],
        parameters=[
            ChangesQuerySerializer,
            OpenApiParameter("Last-Event-ID", int, OpenApiParameter.HEADER, description="Counts before `since`."),
        ],
        responses={
            (200, "application/json"): ChangesPageSerializer,
            (200, EVENT_STREAM): OpenApiResponse({"type": "string"}, "Server-sent events."),
        },
        extensions=with_errors(
            {
                "400": LIST_ERRORS["400"],
                "404": "There is no such airline, or it is not for you to see.",
                "410": "What changed since then is no longer known: read the lists anew.",
            }
        ),
    )
    def get(self, request: Request) -> HttpResponse:
        """What is there; or nothing, and the question left for who waits."""
        hearing = self._parse(request)
        waiting = changes_request_of(request)
        if waiting is not None and (hearing.stream or (hearing.wait and hearing.since is not None)):
            request._request.scope[SCOPE_KEY] = hearing  # type: ignore[attr-defined]  # it is an ASGIRequest
            return _page_response(ChangesPage(0), stream=hearing.stream)
        told = changes_since(hearing)
        return too_old_response(request.path) if told is None else _page_response(told, stream=hearing.stream)

    def _parse(self, request: Request) -> ChangesRequest:
        """Raises ValidationError, and Http404 for an airline that is foreign or not there."""
        question = ChangesQuerySerializer(data=request.query_params)
        question.is_valid(raise_exception=True)
        asked = question.validated_data
        stream = isinstance(request.accepted_renderer, EventStreamRenderer)
        topics = frozenset(asked.get("topic") or topic_names())
        watch = SubscribeRequest(
            asked.get("airline"), asked.get("tail", ""), asked.get("campaign", ""), topics, None, acks=False
        )
        assert isinstance(request.user, User)
        try:
            scope = scope_for(request.user, watch)
        except Rejected as refused:
            raise Http404 from refused
        since = _last_event_id(request) if stream and "Last-Event-ID" in request.headers else asked.get("since")
        limit, wait = asked.get("limit", DEFAULT_LIMIT), asked.get("wait", 0)
        return ChangesRequest(user=request.user, scope=scope, since=since, limit=limit, wait=wait, stream=stream)


def changes_request_of(request: Request | HttpRequest) -> ChangesRequest | None:
    """Where the question of this request may be left to wait, if anybody waits."""
    connection: dict[str, Any] = getattr(getattr(request, "_request", request), "scope", {})
    return connection.get(SCOPE_KEY)


def _last_event_id(request: Request) -> int:
    said = request.headers["Last-Event-ID"].strip()
    if not (said.isascii() and said.isdigit() and len(said) < 19):
        raise ValidationError({"Last-Event-ID": ["It must be the id of an event that was sent."]})
    return int(said)


def page_json(told: ChangesPage) -> str:
    """The answer as JSON."""
    more = "true" if told.more else "false"
    return f'{{"rev":{told.rev},"more":{more},"changes":[{",".join(told.texts)}]}}'


def page_event(told: ChangesPage) -> str:
    """The answer as one server-sent event. JSON as we write it has no line breaks."""
    return f"id: {told.rev}\ndata: {page_json(told)}\n\n"


def too_old_response(path: str) -> HttpResponse:
    """410: who asks has to begin anew."""
    return problem(410, TOO_OLD, path, kind="start-anew")


def _page_response(told: ChangesPage, *, stream: bool) -> HttpResponse:
    response = HttpResponse(
        page_event(told) if stream else page_json(told), content_type=EVENT_STREAM if stream else "application/json"
    )
    response["Cache-Control"] = "no-store"
    patch_vary_headers(response, ["Accept", "Authorization", "Cookie"])
    return response
