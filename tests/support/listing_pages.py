"""Listing pages as the different stores write them, and ways to corrupt them.

Stores differ in the order of elements, in additional elements and in the escaping.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote
from xml.sax.saxutils import escape

from hypothesis import strategies as st

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
STORES: Final = ("aws", "seaweed", "moto", "minio", "bare")
DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True)
class Entry:
    """An object as a store lists it; `when` is in the store's format."""

    key: str
    size: int = 1
    etag: str = "cfcd208495d565ef66e7dff9f98764da"
    when: str = "2026-11-21T03:00:00Z"


@dataclass(frozen=True)
class Page:
    """The content of a page; `encoded`: names are URL-encoded."""

    entries: Sequence[Entry] = ()
    prefixes: Sequence[str] = ()
    token: str = ""
    encoded: bool = True
    more: dict[str, str] = field(default_factory=dict)

    def written_by(self, store: str) -> bytes:
        """Return the bytes of the page as `store` sends it."""
        entries = "".join(WRITERS[store](self, entry) for entry in self.entries)
        prefixes = "".join(_tags("CommonPrefixes", _tags("Prefix", self._name(name))) for name in self.prefixes)
        truncated = _tags("IsTruncated", "true" if self.token else "false")
        token = _tags("NextContinuationToken", escape(self.token)) if self.token else ""
        count = _tags("KeyCount", str(len(self.entries) + len(self.prefixes)))
        encoding = _tags("EncodingType", "url") if self.encoded else ""
        head = "<Name>bucket</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys>"
        space = "" if store == "bare" else f' xmlns="{NAMESPACE}"'
        inside = {
            "aws": head + token + count + encoding + truncated + entries + prefixes,
            "seaweed": head + truncated + entries + prefixes + token + encoding + count,
            "moto": truncated + entries + head + prefixes + encoding + count + token,
            "minio": head + token + count + truncated + entries + prefixes + encoding,
            "bare": truncated + token + entries + prefixes + encoding,
        }[store]
        declaration = "" if store == "bare" else DECLARATION.replace("UTF", "utf") if store == "moto" else DECLARATION
        return f"{declaration}<ListBucketResult{space}>{inside}</ListBucketResult>".encode()

    def _name(self, name: str) -> str:
        return quote(name, safe="/~") if self.encoded else escape(name)

    def fields(self, entry: Entry, quotes: str) -> dict[str, str]:
        """Return the fields of an entry, each in its tags."""
        return {
            "key": _tags("Key", self._name(entry.key)),
            "when": _tags("LastModified", entry.when),
            "etag": _tags("ETag", f"{quotes}{entry.etag}{quotes}"),
            "size": _tags("Size", str(entry.size)),
        }


def _tags(name: str, inside: str) -> str:
    return f"<{name}>{inside}</{name}>"


CLASS: Final = "<StorageClass>STANDARD</StorageClass>"


def _aws(page: Page, entry: Entry) -> str:
    # Objects written before S3 added default checksums have none.
    sums = "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"
    sums = sums if entry.size % 2 else ""
    return _tags("Contents", "{key}{when}{etag}{}{size}{}".format(sums, CLASS, **page.fields(entry, "&quot;")))


def _seaweed(page: Page, entry: Entry) -> str:
    return _tags("Contents", "{key}{etag}{size}{}{when}".format(CLASS, **page.fields(entry, "&#34;")))


def _moto(page: Page, entry: Entry) -> str:
    return _tags("Contents", "{key}{when}{etag}{size}{}".format(CLASS, **page.fields(entry, '"')))


def _minio(page: Page, entry: Entry) -> str:
    owner = "<Owner><ID>02d6176db174dc93cb1b899f7c6078f0</ID><DisplayName>minio</DisplayName></Owner>"
    return _tags("Contents", "{key}{when}{etag}{size}{}{}".format(owner, CLASS, **page.fields(entry, "&#34;")))


def _bare(page: Page, entry: Entry) -> str:
    return _tags("Contents", "{size}{when}{key}{etag}".format(**page.fields(entry, "")))


WRITERS: Final[dict[str, Callable[[Page, Entry], str]]] = {
    "aws": _aws,
    "seaweed": _seaweed,
    "moto": _moto,
    "minio": _minio,
    "bare": _bare,
}

# Characters that XML allows or must escape, that URLs must escape, and invalid ones next to them.
_SIGNS: Final = st.sampled_from([*"abzAZ019/._-+%&<>\"'; ]=", "é", "飛", "🎬", "\u0301", "\u2028", "\x7f", "\x85"])
_NAMES: Final = st.text(_SIGNS, min_size=1, max_size=12).map("A/{}".format)
_WHENS: Final = st.sampled_from(
    ["2026-11-21T03:00:00Z", "2026-11-21T03:00:00.000Z", "2026-11-21T03:00:01.123Z", "2024-02-29T23:59:59+00:00"]
)
_ETAGS: Final = st.sampled_from(["cfcd208495d565ef66e7dff9f98764da", "0" * 32 + "-9", "x", "ABC"])
_ENTRIES: Final = st.builds(Entry, _NAMES, st.integers(0, 2**60), _ETAGS, _WHENS)

pages: Final = st.builds(
    Page,
    st.lists(_ENTRIES, max_size=4, unique_by=lambda entry: entry.key),
    st.lists(_NAMES.map("{}/".format), max_size=2, unique=True),
    st.just(""),
    st.booleans(),
)
stores: Final = st.sampled_from(STORES)

# Replacements for some bytes: markup that parsers may interpret differently.
_PIECES: Final = [
    *rb"""< > & " + % %0A - 0 9 a ]]> &amp; &lt; &#34; &#x22; &#10; &#0; &bomb; <!--x--> <!-- --> <![CDATA[ <?pi?>
    <!DOCTYPEx> <x/> <x> </x> <x:Key> <Key> </Key> <Key>A/y</Key> <Size>2</Size> <Contents> </Contents>
    </Contents><Contents> <Contents/> <ListBucketResult> </ListBucketResult> <Owner><Key>A/z</Key></Owner>
    <IsTruncated>false</IsTruncated> <EncodingType>url</EncodingType> <StorageClass/> 2026-11-21""".split(),
    *(
        b"",
        b" ",
        b"\n",
        b"\r\n",
        b"\x00",
        b"\x1f",
        b"\xff",
        b"\xef\xbf\xbe",
        b"\xef\xbb\xbf",
        b' xmlns="urn:x"',
        b"<!DOCTYPE x>",
    ),
]


@st.composite
def corrupted_page(draw: st.DrawFn) -> bytes:
    """Return a page with a few bytes replaced, or with its end or middle missing."""
    body = draw(pages).written_by(draw(stores))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.one_of(st.integers(0, len(body)), st.sampled_from(_borders(body))))
        upto = at + draw(st.sampled_from([0, 0, 1, 2, 12, 60, 1000]))
        body = body[:at] + draw(st.sampled_from(_PIECES)) + body[upto:]
    return body


def _borders(body: bytes) -> list[int]:
    """Return the offsets where tags start and end."""
    return [at for at, byte in enumerate(body) if byte == ord("<")] + [
        at + 1 for at, byte in enumerate(body) if byte == ord(">")
    ] or [0]
