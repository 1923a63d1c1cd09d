"""The search text `q` of pages, API and admin: one limit for all of them. Pure.

Each word of a search adds a comparison with every searched column of every row, so an unbounded text keeps the database
busy for minutes.
"""

from __future__ import annotations

from typing import Final

from django.core.exceptions import BadRequest

SEARCH_LIMIT: Final = 200  # characters
SEARCH_WORDS: Final = 10


class SearchTooLong(BadRequest):
    """The search text has too many characters or words. `str()` says what is allowed."""


def check_search(text: str) -> str:
    """Return the search text without surrounding blanks and NUL. Raises SearchTooLong."""
    text = text.replace("\0", "").strip()
    if len(text) > SEARCH_LIMIT:
        raise SearchTooLong(f"The search text has {len(text):,} characters. Use at most {SEARCH_LIMIT}.")
    words = len(text.split())
    if words > SEARCH_WORDS:
        raise SearchTooLong(f"The search text has {words:,} words. Use at most {SEARCH_WORDS}.")
    return text
