"""Decodes a JSON document as editors and web tools write it. Pure; bounded in time and memory.

Manifests, which people write, are read as UTF-8 with or without a byte order mark, UTF-16 and UTF-32 with one, and gzip
of any of these. Documents that only programs write must be plain UTF-8. Everything else is refused with a sentence that
names the form. Loader and portal use the same functions, so both read the same documents.
"""

from __future__ import annotations

import codecs
import zlib
from typing import Final

GZIP: Final = b"\x1f\x8b"
_MEMBERS_LIMIT: Final = 100  # of one gzip file; tools that compress in parallel write several
_GZIP_WINDOW: Final = 31  # zlib's code for "gzip header, any window"
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OTHER_FORMS: Final = (
    (GZIP, "compressed twice with gzip"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4"),
    (b"\x78\x01", "compressed with zlib"),
    (b"\x78\x9c", "compressed with zlib"),
    (b"\x78\xda", "compressed with zlib"),
    (b"\xd0\xcf\x11\xe0", "an Office document"),
    (b"%PDF", "a PDF document"),
)


class UnreadableDocument(ValueError):
    """The bytes are no text that can be read. `str()` is a sentence that names their form."""


def decode_document(body: bytes, limit: int) -> str:
    """Return the text of a document of at most `limit` bytes, after decompression too, without a byte order mark.

    Raises:
        UnreadableDocument: it has another form, or is damaged or too long.
    """
    if body.startswith(GZIP):
        body = _gunzip(body, limit)
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return _decode(body.removeprefix(mark), encoding)
    return _decode_unmarked(body)


def decode_plain(body: bytes) -> str:
    """Return the text of a document in plain UTF-8. Raises UnreadableDocument."""
    if body.startswith(GZIP):
        raise UnreadableDocument("the document is compressed with gzip; store it uncompressed")
    if not is_plain(body):
        raise UnreadableDocument("the document begins with a byte order mark; save it as UTF-8 without one")
    return _decode_unmarked(body)


def _decode_unmarked(body: bytes) -> str:
    for beginning, form in _OTHER_FORMS:
        if body.startswith(beginning):
            raise UnreadableDocument(f"the document is {form}; store it as UTF-8 text, or compress it once with gzip")
    if b"\0" in body[:4]:
        raise UnreadableDocument(
            "the document is UTF-16 or UTF-32 without a byte order mark, or not text; save it as UTF-8"
        )
    return _decode(body, "utf-8")


def is_plain(body: bytes) -> bool:
    """Return whether every reader takes the document, also an older one: no compression, no byte order mark."""
    return not body.startswith((GZIP, *(mark for mark, _ in _MARKS)))


def _decode(body: bytes, encoding: str) -> str:
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise UnreadableDocument(
                f"byte {error.start}: not {encoding.upper()}, as its byte order mark says"
            ) from error
        raise UnreadableDocument(
            f"byte {error.start}: not UTF-8 (0x{body[error.start]:02x}); if it was saved as Latin-1 or Windows-1252, "
            "save it as UTF-8"
        ) from error


def _gunzip(body: bytes, limit: int) -> bytes:
    """Decompress at most `limit` bytes: a small file can hold gigabytes. Raises UnreadableDocument."""
    text, rest = bytearray(), body
    for _ in range(_MEMBERS_LIMIT):
        member = zlib.decompressobj(wbits=_GZIP_WINDOW)
        try:
            text += member.decompress(rest, limit + 1 - len(text))
        except zlib.error as error:
            raise UnreadableDocument("the document is gzip, but damaged") from error
        if len(text) > limit:
            raise UnreadableDocument(f"the document is gzip, and longer than {limit:,} bytes after decompression")
        if not member.eof:
            raise UnreadableDocument("the document is gzip, but incomplete")
        rest = member.unused_data
        if not rest.strip(b"\0"):  # some tools pad with zeros
            return bytes(text)
    raise UnreadableDocument(f"the document is gzip, with more than {_MEMBERS_LIMIT} members")
