"""Makes any text safe to show on one line: no control characters, no directional controls. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from loader.contract.names import BIDI, is_plain

_BREAKS: Final = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")


def clean_line(text: str) -> str:
    """Return `text` on one line: white space collapsed, NUL removed, other control characters replaced by symbols."""
    if is_plain(text):
        return " ".join(text.split())
    text = _BREAKS.sub(" ", text.replace("\0", "").removeprefix("\ufeff"))
    return " ".join("".join(map(_visible_character, text)).split())


def _visible_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cc":
        return chr(0x2400 + ord(character)) if character < " " else "␡" if character == "\x7f" else "\ufffd"
    if category == "Cs" or character in BIDI:
        return "\ufffd"
    return character
