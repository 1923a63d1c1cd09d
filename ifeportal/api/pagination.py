"""Pagination of the API's lists: by page number, or by a cursor that stays stable while rows change."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

CURSOR_DIGITS = 18  # digits; an id has fewer


class Pagination(PageNumberPagination):
    """`page` and `page_size`: 100 rows a page unless asked otherwise, at most 1,000.

    With `paging=cursor` rows come in the order of their ids, which never changes, and are not counted: each row there
    is from beginning to end comes exactly once, whatever happens meanwhile. `cursor` is the last id that was sent.
    """

    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000
    page_size_query_description = "Rows a page, 1 to 1,000; more is cut to 1,000."
    next_cursor: int | None = None
    by_cursor = False

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """The rows of the page. Raises NotFound for a number there is no page of, ValidationError."""
        asked = request.query_params
        self.by_cursor = _paging_mode(asked.get("paging", ""), cursor="cursor" in asked) == "cursor"
        if not self.by_cursor:
            return super().paginate_queryset(queryset, request, view)
        for name in ("page", "ordering"):
            if name in asked:
                raise ValidationError({name: ["With a cursor the order is that of the ids, and pages have no number."]})
        self.request = request
        return self._page_after(asked.get("cursor", ""), queryset, view.newest_first, self.get_page_size(request) or 1)

    def _page_after(self, cursor: str, rows: QuerySet[Any], newest_first: bool, size: int) -> list[Any]:
        if cursor and not re.fullmatch(rf"[0-9]{{1,{CURSOR_DIGITS}}}", cursor):
            raise ValidationError({"cursor": ["Take the cursor from “next” of the page before."]})
        if cursor:
            rows = rows.filter(**{"pk__lt" if newest_first else "pk__gt": int(cursor)})
        found = list(rows.order_by("-pk" if newest_first else "pk")[: size + 1])
        self.next_cursor = found[size - 1].pk if len(found) > size else None
        return found[:size]

    def get_page_size(self, request: Request) -> int | None:
        """How many rows a page holds. Raises ValidationError for what is not a positive whole number."""
        asked = request.query_params.get("page_size", "")
        if asked and not re.fullmatch(r"0*[1-9][0-9]{0,8}", asked):
            raise ValidationError({"page_size": ["Write a whole number from 1 to 1,000."]})
        return super().get_page_size(request)

    def frame(self) -> dict[str, Any]:
        """What stands around the rows: `count` (None: not counted), `next` and `previous`."""
        if self.by_cursor:
            return {"count": None, "next": self._next_by_cursor(), "previous": None}
        assert self.page is not None
        return {
            "count": self.page.paginator.count,
            "next": self.get_next_link(),
            "previous": self.get_previous_link(),
        }

    def get_paginated_response(self, data: Any) -> Response:
        """The page."""
        return Response({**self.frame(), "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """What the schema says of a page."""
        page = super().get_paginated_response_schema(schema)
        page["properties"]["count"] |= {"nullable": True, "description": "Null with a cursor: not counted."}
        return page

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """What the schema says of the parameters."""
        return [
            *super().get_schema_operation_parameters(view),
            {
                "name": "paging",
                "required": False,
                "in": "query",
                "description": "`cursor`: each row exactly once in the order of ids, not counted, however rows change.",
                "schema": {"type": "string", "enum": ["page", "cursor"]},
            },
            {
                "name": "cursor",
                "required": False,
                "in": "query",
                "description": "Where the page before ended; from its `next`.",
                "schema": {"type": "string", "pattern": f"^[0-9]{{1,{CURSOR_DIGITS}}}$"},
            },
        ]

    def _next_by_cursor(self) -> str | None:
        if self.next_cursor is None:
            return None
        assert self.request is not None
        return replace_query_param(self.request.build_absolute_uri(), "cursor", self.next_cursor)


def _paging_mode(paging: str, *, cursor: bool) -> str:
    if paging not in ("", "page", "cursor"):
        raise ValidationError({"paging": [f"“{paging[:100]}” is not known; choose from page, cursor."]})
    return paging or ("cursor" if cursor else "page")
