"""What every part of the API shares: read-only view sets scoped to the user, pages, filters, errors, tokens, docs.

May touch the database only through query sets scoped by `visible_to`. The rows themselves are served by the
apps above, each in its own `api.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import django_filters
from csp.decorators import csp_update
from django.contrib.auth.views import redirect_to_login
from django.db.models import F, Model, QuerySet
from django.db.models.expressions import OrderBy
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils.decorators import method_decorator
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema, extend_schema_field
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework import filters, serializers, viewsets
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.parsers import FormParser, JSONParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle, SimpleRateThrottle
from rest_framework.views import APIView

from ifeportal.access import ScopedQuerySet

M = TypeVar("M", bound=Model)

# The root names the parts served by the apps above, which it cannot import; a test holds it to the routers.
ENDPOINTS = ("airlines", "anomalies", "campaigns", "content", "loads", "tails", "transfers")


class Pagination(PageNumberPagination):
    """`page` and `page_size`: 100 rows a page unless asked otherwise, at most 1,000."""

    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000
    page_size_query_description = "Rows a page, 1 to 1,000; more is cut to 1,000."

    def get_page_size(self, request: Request) -> int | None:
        """How many rows a page holds. Raises ValidationError for what is not a positive whole number."""
        asked = request.query_params.get("page_size", "")
        if asked and not re.fullmatch(r"0*[1-9][0-9]{0,8}", asked):
            raise ValidationError({"page_size": ["Write a whole number from 1 to 1,000."]})
        return super().get_page_size(request)


class Ordering(filters.BaseFilterBackend):
    """`ordering=-bytes_done,tail`: by the view's `orderings` (name in the API to path in the model).

    Rows without a value come last either way, and the id decides between equals, so that pages never overlap.
    """

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        """The rows in the order asked for. Raises ValidationError for a name that is not offered."""
        asked = [term.strip() for term in request.query_params.get("ordering", "").split(",") if term.strip()]
        terms = [self._term(term, view.orderings) for term in asked[:10]] or view.usual_order
        return queryset.order_by(*terms, "pk")

    @staticmethod
    def _term(term: str, orderings: Mapping[str, str]) -> OrderBy:
        name = term.removeprefix("-")
        if name not in orderings:
            raise ValidationError({"ordering": [f"“{name[:100]}” is not offered; choose from {', '.join(orderings)}."]})
        path = F(orderings[name])
        return path.desc(nulls_last=True) if term.startswith("-") else path.asc(nulls_last=True)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """What the schema says of `ordering`."""
        names = list(view.orderings)
        return [
            {
                "name": "ordering",
                "required": False,
                "in": "query",
                "description": "One or more of these, separated by commas; a minus before a name turns it round.",
                "explode": False,
                "schema": {
                    "type": "array",
                    "items": {"type": "string", "enum": [*names, *(f"-{name}" for name in names)]},
                },
            }
        ]


@extend_schema_field({"type": "boolean"})
class Flag(django_filters.TypedChoiceFilter):
    """`true` or `false`; anything else is refused, where the library's own boolean filter would ignore it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            choices=[("true", "true"), ("false", "false")],
            coerce="true".__eq__,
            error_messages={"invalid_choice": "“%(value)s” is neither true nor false."},
            **kwargs,
        )


class Words(django_filters.MultipleChoiceFilter):
    """One of a few words; may be given several times."""

    def __init__(self, *, choices: Sequence[tuple[str, Any]], **kwargs: Any) -> None:
        words = ", ".join(word for word, _ in choices)
        super().__init__(
            choices=choices,
            error_messages={"invalid_choice": f"“%(value)s” is not known; choose from {words}."},
            **kwargs,
        )


class Row(serializers.Serializer[M]):
    """A row whose values come from one function; the declared fields say what they mean (a test holds them equal)."""

    values_of: ClassVar[Callable[[Any], dict[str, object]]]

    def to_representation(self, instance: M) -> dict[str, object]:
        """The row as JSON-ready values."""
        return type(self).values_of(instance)


class ReadOnly(viewsets.ReadOnlyModelViewSet[M]):
    """A list and its rows, read-only: those the user may see, and 404 for all others."""

    queryset: ScopedQuerySet[M]
    pagination_class = Pagination
    filter_backends = [DjangoFilterBackend, filters.SearchFilter, Ordering]
    orderings: ClassVar[Mapping[str, str]] = {}
    usual_order: ClassVar[Sequence[str]] = ()
    lookup_value_regex = "[0-9]+"

    def get_queryset(self) -> QuerySet[M]:
        """The rows of the airlines the user belongs to."""
        return self.with_sums(self.queryset.all().visible_to(self.request.user))

    def with_sums(self, rows: QuerySet[M]) -> QuerySet[M]:
        """For views whose rows carry sums: the query set that adds them."""
        return rows


class ApiRoot(APIView):
    """Where everything is."""

    @extend_schema(
        summary="List the parts of the API",
        tags=["api"],
        responses={200: {"type": "object", "additionalProperties": {"type": "string", "format": "uri"}}},
    )
    def get(self, request: Request) -> Response:
        """Name and address of every list."""
        return Response({name: request.build_absolute_uri(reverse(f"api-{name}-list")) for name in ENDPOINTS})


class BoundedJSON(JSONParser):
    """JSON; brackets in brackets without end are as malformed as any other text."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        """The value of the body. Raises ParseError."""
        try:
            return super().parse(*args, **kwargs)
        except RecursionError as error:
            raise ParseError("The JSON is nested too deep.") from error


class TokenByName(SimpleRateThrottle):
    """So many attempts a minute on one account, wherever they come from."""

    scope = "token-name"

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        """One counter an account name; none when the request names no account."""
        name = request.data.get("username") if isinstance(request.data, Mapping) else None
        if not isinstance(name, str) or not name:
            return None
        return self.cache_format % {"scope": self.scope, "ident": name.casefold().encode()[:100].hex()}


class ObtainToken(ObtainAuthToken):
    """A token for programs, against name and password."""

    permission_classes = [AllowAny]
    parser_classes = [BoundedJSON, FormParser]
    throttle_classes = [ScopedRateThrottle, TokenByName]
    throttle_scope = "token"

    @extend_schema(
        summary="Obtain a token",
        tags=["api"],
        auth=[],
        description="Send it as `Authorization: Token …` with every request. The same user always gets the same "
        "token until an administrator deletes it.",
        responses={200: {"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"]}},
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The user's token."""
        return super().post(request, *args, **kwargs)


# Its stylesheet draws arrows and icons from data: addresses; nothing else of the policy has to give way.
@method_decorator(csp_update({"img-src": ["'self'", "data:"]}), name="dispatch")
class Docs(SpectacularSwaggerSplitView):
    """The schema to read and try out; nothing on the page comes from elsewhere and no script is inline."""

    template_name = "api/docs.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """A person who has not signed in is asked to, rather than shown a 401 as a program would be."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return super().dispatch(request, *args, **kwargs)


def document_errors(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add to the schema the errors every operation can answer with (a hook of drf-spectacular)."""
    result.setdefault("components", {}).setdefault("schemas", {}).update(
        Detail={
            "type": "object",
            "properties": {"detail": {"type": "string", "description": "A sentence."}},
            "required": ["detail"],
        },
        Faults={
            "type": "object",
            "description": "For each parameter that was wrong, the sentences that say why.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    )
    for path, operations in result["paths"].items():
        for operation in operations.values():
            operation["responses"].update(_errors(path, operation))
    return result


def _errors(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    paged = any(parameter["name"] == "page" for parameter in operation.get("parameters", []))
    errors = {
        "429": ("Too many requests; `Retry-After` says when to come back.", "Detail"),
        "503": ("The database does not answer; `Retry-After` says when to come back.", "Detail"),
    }
    if path.endswith("/token/"):
        errors["400"] = ("Name or password missing or wrong.", "Faults")
    else:
        errors["401"] = ("No credentials, or ones that are not valid.", "Detail")
    if paged:
        errors["400"] = ("A parameter has a value that is not offered.", "Faults")
        errors["404"] = ("There is no such page.", "Detail")
    elif "{id}" in path:
        errors["404"] = ("Not there, or not for you to see.", "Detail")
    return {
        status: {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
        }
        for status, (text, schema) in sorted(errors.items())
    }
