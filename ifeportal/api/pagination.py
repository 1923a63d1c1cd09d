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
    """`page` and `page_size`: 100 rows a page by default, at most 1,000.

    With `paging=cursor` rows come in the order of their ids, which never changes, and are not counted. A row that
    exists throughout comes exactly once, even if rows change in between. `cursor` is the last id that was sent.
    """

    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000
    page_size_query_description = "Rows per page, 1 to 1,000. A higher value means 1,000."
    next_cursor: int | None = None
    by_cursor = False

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """Return the rows of the page. Raises ValidationError, and NotFound for a page that does not exist."""
        asked = request.query_params
        self.by_cursor = _paging_mode(asked.get("paging", ""), cursor="cursor" in asked) == "cursor"
        if not self.by_cursor:
            return super().paginate_queryset(queryset, request, view)
        for name in ("page", "ordering"):
            if name in asked:
                raise ValidationError(
                    {name: ["With a cursor, rows are in the order of their ids and pages have no number."]}
                )
        self.request = request
        return self._page_after(asked.get("cursor", ""), queryset, view.newest_first, self.get_page_size(request) or 1)

    def _page_after(self, cursor: str, rows: QuerySet[Any], newest_first: bool, size: int) -> list[Any]:
        if cursor and not re.fullmatch(rf"[0-9]{{1,{CURSOR_DIGITS}}}", cursor):
            raise ValidationError({"cursor": ["Use the cursor from “next” of the previous page."]})
        if cursor:
            rows = rows.filter(**{"pk__lt" if newest_first else "pk__gt": int(cursor)})
        page = list(rows.order_by("-pk" if newest_first else "pk")[: size + 1])
        self.next_cursor = page[size - 1].pk if len(page) > size else None
        return page[:size]

    def get_page_size(self, request: Request) -> int | None:
        """Return the rows per page. Raises ValidationError for anything but a positive whole number."""
        asked = request.query_params.get("page_size", "")
        if asked and not re.fullmatch(r"0*[1-9][0-9]{0,8}", asked):
            raise ValidationError({"page_size": ["Write a whole number from 1 to 1,000."]})
        return super().get_page_size(request)

    def frame(self) -> dict[str, Any]:
        """Return the fields around the rows: `count` (None: not counted), `next` and `previous`."""
        if self.by_cursor:
            return {"count": None, "next": self._next_by_cursor(), "previous": None}
        assert self.page is not None
        return {
            "count": self.page.paginator.count,
            "next": self.get_next_link(),
            "previous": self.get_previous_link(),
        }

    def get_paginated_response(self, data: Any) -> Response:
        return Response({**self.frame(), "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        page = super().get_paginated_response_schema(schema)
        page["properties"]["count"] |= {"nullable": True, "description": "Null with a cursor: rows are not counted."}
        return page

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            *super().get_schema_operation_parameters(view),
            {
                "name": "paging",
                "required": False,
                "in": "query",
                "description": "`cursor`: each row exactly once, in the order of ids, even while rows change.",
                "schema": {"type": "string", "enum": ["page", "cursor"]},
            },
            {
                "name": "cursor",
                "required": False,
                "in": "query",
                "description": "The end of the previous page, from its `next`.",
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
        raise ValidationError({"paging": [f"“{paging[:100]}” is not a valid value. Choose from page, cursor."]})
    return paging or ("cursor" if cursor else "page")
