"""Rules for legal names: segments of keys, and file names. Standard library only; pure.

Two rules, because a name is used in two ways:

- `check_name` is the contract's rule for any segment of a key (airline, tail, campaign). Loaders of other vendors are
  held to it too, so a leading "-" or a trailing "." is legal here. Directional (bidi) controls count as control
  characters: they make one name look like another.
- `content_name` is the rule for file names on an aircraft and is stricter: printable characters only, no leading "-",
  no trailing ".", none of the endings of the loader's own files.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from loader.errors import BadName

NAME_LIMIT: Final = 200  # bytes of UTF-8; leaves room for our suffixes in the 255 of a file name
TGZ: Final = ".tgz"

_CONTROL: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Zero-width joiner and non-joiner: without them Persian and many Indian words cannot be written.
_JOINERS: Final = frozenset("\u200c\u200d")
_PRINTABLE: Final = frozenset("LMNPS")
_RESERVED_ENDINGS: Final = (".part", ".progress", ".error")


def check_name(segment: str) -> str:
    """The segment itself, if the contract allows it as an airline, tail or campaign.

    Raises:
        BadName: with a sentence that says which rule it breaks.
    """
    if not segment:
        raise BadName("a name is empty")
    try:
        length = len(segment.encode())
    except UnicodeEncodeError as exc:
        raise BadName(f"the name {segment[:40]!a} holds an unpaired surrogate") from exc
    if length > NAME_LIMIT:
        raise BadName(f"the name {segment[:40]!a}… has {length} bytes; {NAME_LIMIT} are allowed")
    if segment.startswith("."):
        raise BadName(f"the name {segment!a} begins with a dot")
    if "/" in segment or "\\" in segment:
        raise BadName(f"the name {segment!a} holds a slash or backslash")
    if segment != segment.strip():
        raise BadName(f"the name {segment!a} begins or ends with white space")
    if any(sign in BIDI or unicodedata.category(sign) in _CONTROL for sign in segment):
        raise BadName(f"the name {segment!a} holds a control character")
    if not unicodedata.is_normalized("NFC", segment):
        raise BadName(f"the name {segment!a} is not in Unicode's normal form C")
    return segment


def content_name(name: str) -> str:
    """The name of a content item, without its `.tgz`: one such ending is taken off, the rest is checked.

    Raises:
        BadName: it breaks `check_name`, or could be mistaken for something else as a file name.
    """
    bare = check_name(name.removesuffix(TGZ) if name != TGZ else "")
    if bare.startswith("-"):
        raise BadName(f"the name {bare!a} begins with a dash")
    if bare.endswith("."):
        raise BadName(f"the name {bare!a} ends with a dot")
    if bare.casefold().endswith(_RESERVED_ENDINGS):
        raise BadName(f"the name {bare!a} ends like one of the loader's own files ({', '.join(_RESERVED_ENDINGS)})")
    if not all(_is_visible(sign) for sign in bare):
        raise BadName(f"the name {bare!a} holds a character that cannot be seen")
    return bare


def listed_name(content: str) -> str:
    """Return a content name as documents list it, so that `content_name` gives it back.

    A name that itself ends in `.tgz` gets a second one: a reader takes one off.
    """
    return content + TGZ if content.endswith(TGZ) else content


def _is_visible(sign: str) -> bool:
    return sign == " " or sign in _JOINERS or unicodedata.category(sign)[0] in _PRINTABLE


def conflict_key(name: str) -> str:
    """Two names conflict if and only if these are equal: case and normalisation taken away."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
