"""Rules for names: segments of keys, and file names. Standard library only; pure.

Two rules, because a name is used in two ways:

- `check_name` applies to every segment of a key (airline, tail, campaign). Loaders of other vendors must follow it
  too, so a leading "-" and a trailing "." are allowed. Directional (bidi) controls count as control characters: they
  make one name look like another.
- `content_name` applies to file names on an aircraft and is stricter: printable characters only, no leading "-", no
  trailing ".", no suffix that the loader reserves for its own files.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from loader.errors import BadName

NAME_LIMIT: Final = 200  # bytes of UTF-8; leaves room for suffixes within the 255 bytes of a file name
TGZ: Final = ".tgz"

_CONTROL: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Zero-width joiner and non-joiner: Persian and many Indian words need them.
_JOINERS: Final = frozenset("\u200c\u200d")
_PRINTABLE: Final = frozenset("LMNPS")
_RESERVED_SUFFIXES: Final = (".part", ".progress", ".error")


def check_name(segment: str) -> str:
    """Return `segment` if it is a valid airline, tail or campaign name.

    Raises:
        BadName: with the rule that it breaks.
    """
    if not segment:
        raise BadName("the name is empty")
    try:
        length = len(segment.encode())
    except UnicodeEncodeError as exc:
        raise BadName(f"the name {segment[:40]!a} contains an unpaired surrogate") from exc
    if length > NAME_LIMIT:
        raise BadName(f"the name {segment[:40]!a}… has {length} bytes; the limit is {NAME_LIMIT}")
    if segment.startswith("."):
        raise BadName(f"the name {segment!a} begins with a dot")
    if "/" in segment or "\\" in segment:
        raise BadName(f"the name {segment!a} contains a slash or a backslash")
    if segment != segment.strip():
        raise BadName(f"the name {segment!a} begins or ends with white space")
    if is_plain(segment):
        return segment
    if any(character in BIDI or unicodedata.category(character) in _CONTROL for character in segment):
        raise BadName(f"the name {segment!a} contains a control character")
    if not unicodedata.is_normalized("NFC", segment):
        raise BadName(f"the name {segment!a} is not in Unicode normalisation form C (NFC)")
    return segment


def content_name(name: str) -> str:
    """Return the name of a content item without its `.tgz`: one such suffix is removed, the rest is checked.

    Raises:
        BadName: with the rule that it breaks, of `check_name` or of file names.
    """
    bare = check_name(name.removesuffix(TGZ) if name != TGZ else "")
    if bare.startswith("-"):
        raise BadName(f"the name {bare!a} begins with a dash")
    if bare.endswith("."):
        raise BadName(f"the name {bare!a} ends with a dot")
    if bare.casefold().endswith(_RESERVED_SUFFIXES):
        raise BadName(f"the name {bare!a} ends with a reserved suffix ({', '.join(_RESERVED_SUFFIXES)})")
    if not is_plain(bare) and not all(_is_visible(character) for character in bare):
        raise BadName(f"the name {bare!a} contains an invisible character")
    return bare


def is_plain(text: str) -> bool:
    """Whether `text` has only printable ASCII characters: most names have, and a loader checks thousands of them."""
    return text.isascii() and text.isprintable()


def listed_name(content: str) -> str:
    """Return a content name as documents list it: `content_name` of the result is `content`.

    A name that itself ends in `.tgz` gets a second suffix, because readers remove one.
    """
    return content + TGZ if content.endswith(TGZ) else content


def _is_visible(character: str) -> bool:
    return character == " " or character in _JOINERS or unicodedata.category(character)[0] in _PRINTABLE


def conflict_key(name: str) -> str:
    """Return `name` without differences of case and normalisation. Names with equal keys conflict."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
