"""Makes any text safe to show: one line, no control characters, nothing that changes its direction. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from loader.contract.names import BIDI

_BREAKS: Final = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")


def clean_line(text: str) -> str:
    """White space as single blanks, NUL gone, every other control character visible, nothing that turns text round."""
    text = _BREAKS.sub(" ", text.replace("\0", "").removeprefix("\ufeff"))
    return " ".join("".join(map(_visible_character, text)).split())


def _visible_character(sign: str) -> str:
    category = unicodedata.category(sign)
    if category == "Cc":
        return chr(0x2400 + ord(sign)) if sign < " " else "␡" if sign == "\x7f" else "\ufffd"
    if category == "Cs" or sign in BIDI:
        return "\ufffd"
    return sign
