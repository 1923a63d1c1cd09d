"""Read the visible text of a page, or that of the row with a given key."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse

VOID = {"meta", "link", "input", "br", "img", "path", "circle", "rect"}


class _Reader(HTMLParser):
    """Collects visible text; with a key only inside the element that has it."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
        self.depth = 0
        self.inside = 0 if key else -1
        self.hidden = 0
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        self.depth += 1
        found = dict(attrs)
        if not self.inside and self.key in (found.get("data-key") or "").split():
            self.inside = self.depth
        if not self.hidden and ("hidden" in found or tag in ("title", "script", "style")):
            self.hidden = self.depth

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if self.inside == self.depth:
            self.inside = 0
        if self.hidden == self.depth:
            self.hidden = 0
        self.depth -= 1

    def handle_data(self, data: str) -> None:
        if self.inside and not self.hidden:
            self.texts.append(data)


def page_html(response: HttpResponseBase) -> str:
    """Return the HTML of the page."""
    assert response.status_code == 200, response.status_code
    assert isinstance(response, HttpResponse)
    return response.content.decode()


def sent_text(response: HttpResponseBase) -> str:
    """Return the complete text of a downloaded file, without its byte order mark."""
    assert isinstance(response, StreamingHttpResponse)
    return response.getvalue().decode("utf-8-sig")


def page_text(response: HttpResponseBase, key: str = "") -> str:
    """Return the visible text of the page, or of its first row with this `data-key`; white space is collapsed."""
    reader = _Reader(key)
    reader.feed(page_html(response))
    return re.sub(r"\s+", " ", " ".join(reader.texts)).replace(" ,", ",").strip()


def row_headers(response: HttpResponseBase) -> list[str]:
    """Return the row headers of the page's first table, in order."""
    table = re.search(r"<table.*?</table>", page_html(response), re.S)
    found = re.findall(r'role="rowheader"[^>]*>(.*?)</th>', table.group() if table else "", re.S)
    return [re.sub(r"<span class=\"sr\".*?</span>|<[^>]+>", "", name).strip() for name in found]
