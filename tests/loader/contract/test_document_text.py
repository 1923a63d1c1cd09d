"""A manifest is read in every form that editors and web tools write, within limits, or the error names the form."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from loader.contract.document_text import UnreadableDocument, decode_document, is_plain
from loader.contract.manifest import MANIFEST_LIMIT, parse_manifest
from loader.errors import BadManifest

TEXT = '{"content": [{"name": "Über den Wolken", "size": 1}]}'
BODY = TEXT.encode()
READ = {
    "UTF-8": BODY,
    "UTF-8 with a mark": b"\xef\xbb\xbf" + BODY,
    "UTF-16 of Windows": b"\xff\xfe" + TEXT.encode("utf-16-le"),
    "UTF-16, big end first": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "UTF-32": TEXT.encode("utf-32"),
    "UTF-32, big end first": b"\x00\x00\xfe\xff" + TEXT.encode("utf-32-be"),
    "lines of Windows": TEXT.replace(" ", "\r\n\t", 1).encode() + b"\r\n",
    "gzip": gzip.compress(BODY),
    "gzip of UTF-16": gzip.compress(TEXT.encode("utf-16")),
    "gzip in members": gzip.compress(BODY[:20]) + gzip.compress(BODY[20:]),
    "gzip padded with zeros": gzip.compress(BODY) + bytes(512),
}
NAMED = {
    "Latin-1": (TEXT.encode("latin-1"), "byte 23: not UTF-8 (0xdc); if it was saved as Latin-1 or Windows-1252"),
    "UTF-16 without a mark": (TEXT.encode("utf-16-le"), "UTF-16 or UTF-32 without a byte order mark"),
    "UTF-16BE without a mark": (TEXT.encode("utf-16-be"), "UTF-16 or UTF-32 without a byte order mark"),
    "half a character of UTF-16": (b"\xff\xfe{\0}", "byte 2: not UTF-16-LE, as its byte order mark says"),
    "gzip cut off": (gzip.compress(BODY)[:-9], "the document is gzip, but incomplete"),
    "gzip with a flipped bit": (gzip.compress(BODY)[:-6] + b"\0" * 6, "the document is gzip, but damaged"),
    "gzip and more": (gzip.compress(BODY) + b"{}", "the document is gzip, but damaged"),
    "gzip of gzip": (gzip.compress(gzip.compress(BODY)), "compressed twice with gzip"),
    "too many members": (gzip.compress(b"") * 101, "with more than 100 members"),
    "zlib": (zlib.compress(BODY), "compressed with zlib"),
    "Zstandard": (b"\x28\xb5\x2f\xfd" + BODY, "compressed with Zstandard"),
    "ZIP": (b"PK\x03\x04" + BODY, "a ZIP archive"),
    "bzip2": (b"BZh9" + BODY, "compressed with bzip2"),
    "xz": (b"\xfd7zXZ\x00" + BODY, "compressed with xz"),
    "an Office document": (b"\xd0\xcf\x11\xe0" + BODY, "an Office document"),
    "a NUL at the end": (BODY + b"\0", "line 1, column 54: not JSON (a NUL character)"),
    "Ctrl-Z at the end": (BODY + b"\x1a", "a Ctrl-Z character"),
    "a comma after the last item": (BODY.replace(b"}]", b"},]"), "(a comma after the last value)"),
    "a comma after the last field": (BODY.replace(b"1}", b"1,\n }"), "(a comma after the last value)"),
    "a comma at the end": (BODY + b",", "not JSON (Extra data)"),
    "a comment": (b"// ours\n" + BODY, "(comments are not JSON)"),
    "single quotes": (BODY.replace(b'"', b"'"), "(texts need double quotes)"),
    "quotes of a text processor": ("{“content”: []}".encode(), "(a typographic quotation mark"),
    "a page of a proxy": (b"\r\n<html>", "(an HTML or XML page"),
    "nothing": (b"", "(the document is empty)"),
    "blanks": (b" \r\n", "(the document is empty)"),
}


def parse(body: bytes) -> list[str]:
    return [item.name for item in parse_manifest(body, airline="ACME", campaign="c").content]


@pytest.mark.parametrize("body", READ.values(), ids=READ)
def test_a_manifest_is_read_in_every_form_that_can_mean_one_thing_only(body: bytes) -> None:
    assert parse(body) == ["Über den Wolken"]


@pytest.mark.parametrize(("body", "sentence"), NAMED.values(), ids=NAMED)
def test_any_other_form_is_named_by_the_error(body: bytes, sentence: str) -> None:
    with pytest.raises(BadManifest) as refused:
        parse(body)
    assert sentence in str(refused.value)


def test_a_small_file_that_holds_gigabytes_is_refused_at_the_limit() -> None:
    bomb = gzip.compress(bytes(100 * 1_048_576), 1)
    assert len(bomb) < MANIFEST_LIMIT
    tracemalloc.start()
    with pytest.raises(BadManifest, match="longer than 5,242,880 bytes after decompression"):
        parse(bomb)
    with pytest.raises(BadManifest, match="longer than"):
        parse(gzip.compress(b" " * 4_000_000) * 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * MANIFEST_LIMIT


def test_the_limit_counts_the_bytes_after_decompression() -> None:
    body = BODY + b" " * (MANIFEST_LIMIT - len(BODY))
    assert parse(gzip.compress(body)) == ["Über den Wolken"]
    with pytest.raises(UnreadableDocument, match="longer than"):
        decode_document(gzip.compress(body + b" "), MANIFEST_LIMIT)


def test_only_plain_utf_8_is_plain() -> None:
    assert {name for name, body in READ.items() if is_plain(body)} == {"UTF-8", "lines of Windows"}
