"""Whether a program already has what it asks for: the entity tag of rows, made of the rows as they were read.

Pure. The tag is that of the values themselves, not of a counter somebody might forget to raise: whatever is written,
by whom and how, a row that differs, comes, goes or is no longer to be seen gives another tag. It is made before
anything is built or written out of the rows. What is shown must therefore be made of the rows (and what was loaded
with them) alone: not of the clock, not of another query.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from django.db.models import Model


def etag_of(rows: Iterable[Model], *about: object) -> str:
    """The weak entity tag of rows and what else the answer is made of."""
    digest = blake2b(repr(about).encode(errors="surrogatepass"), digest_size=16)
    for row in rows:
        digest.update(repr(_values(row)).encode(errors="surrogatepass"))
    return f'W/"{digest.hexdigest()}"'


def _values(row: Model) -> list[object]:
    values: list[object] = [(name, value) for name, value in vars(row).items() if not name.startswith("_")]
    joined: dict[str, Any] = row._state.fields_cache
    return [*values, *((name, _values(other) if other is not None else None) for name, other in joined.items())]
