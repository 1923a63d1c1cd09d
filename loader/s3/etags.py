"""ETags: opaque names of the bytes of an object, as headers, listings and uploads write them. Pure.

Stores differ in what an ETag is made of, and one store may give an object different ETags in a listing, in the response
to a GET and in that to a PUT. Compare an ETag only with one from the same kind of response. The exception is equality:
two ETags that are equal name the same bytes, wherever they come from.
"""

from __future__ import annotations

import hashlib
from typing import Final

_WEAK: Final = 'W/"'
_QUOTE: Final = '"'


def parse_etag(text: str) -> str:
    """Return an ETag as this program stores it: a strong one without quotes, a weak one as `W/"…"`.

    Nothing else changes: letter case is significant, and a weak ETag is another one than the strong one with the same
    text (RFC 9110, 8.8.3).
    """
    return f'{_WEAK}{text[2:].strip(_QUOTE)}"' if text[:3].upper() == _WEAK else text.strip(_QUOTE)


def is_weak(etag: str) -> bool:
    """Whether the ETag is weak: it cannot be used in If-Match, nor prove alone that the bytes are the same."""
    return etag.startswith(_WEAK)


def etag_header(etag: str) -> str:
    """Return the ETag as a header contains it."""
    return etag if is_weak(etag) else f'"{etag}"'


def etag_text(etag: str) -> str:
    """Return the text between the quotes: the name of an uploaded part, also if a proxy made its ETag a weak one."""
    return etag[len(_WEAK) : -1] if is_weak(etag) else etag


def is_md5_of(etag: str, body: bytes) -> bool:
    """Whether the ETag is the MD5 sum of `body`, as for objects sent in one request to most stores."""
    return etag.lower() == hashlib.md5(body, usedforsecurity=False).hexdigest()
