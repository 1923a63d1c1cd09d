"""Entity tags of responses, computed from the rows as read. Pure.

The tag covers the values, not a counter that a writer might forget to raise: a row that differs, appears, disappears or
becomes invisible changes the tag. It is computed before the response is built. A response must therefore depend on the
rows (and what was loaded with them) alone: not on the clock, not on another query.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from django.db.models import Model


def etag_of(rows: Iterable[Model], *about: object) -> str:
    """Return the weak entity tag of rows and of everything else the response is built from."""
    digest = blake2b(repr(about).encode(errors="surrogatepass"), digest_size=16)
    for row in rows:
        digest.update(repr(_values(row)).encode(errors="surrogatepass"))
    return f'W/"{digest.hexdigest()}"'


def _values(row: Model, above: Model | None = None) -> list[object]:
    """Return the values of the row and of the rows joined to it, except the row `above` it."""
    values: list[object] = [(name, value) for name, value in vars(row).items() if not name.startswith("_")]
    joined: dict[str, Any] = row._state.fields_cache
    return values + [
        (name, None if other is None else _values(other, row))
        for name, other in joined.items()
        if other is None or other is not above
    ]
