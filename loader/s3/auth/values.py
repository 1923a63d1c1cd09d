"""Cleans and checks the text of a setting, wherever it comes from. Reads files that settings name.

Errors continue a sentence that begins with the name of the setting, and contain nothing of its value.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from pathlib import Path
from typing import Final

FILE_LIMIT: Final = 1_048_576  # bytes of a file that a setting names
_INVISIBLE: Final = "\0\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
BYTE_ORDER_MARKS: Final = (codecs.BOM_UTF8, *_UTF16)
_QUOTES: Final = "\"'"
_REGION: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def clean_text(text: str) -> str:
    """Return the text without white space and invisible characters at its ends, such as a byte order mark."""
    while (trimmed := text.strip().strip(_INVISIBLE)) != text:
        text = trimmed
    return text


def is_quoted(text: str) -> bool:
    """Whether the text begins and ends with the same quotation mark."""
    return len(text) > 1 and text[0] in _QUOTES and text[0] == text[-1]


def clean_setting(text: str) -> str:
    """Return the text cleaned and without quotation marks around it, which `docker --env-file` keeps."""
    text = clean_text(text)
    return clean_text(text[1:-1]) if is_quoted(text) else text


def control_character_fault(text: str) -> str:
    """Return why the text cannot be a setting of one line; "" if it can."""
    if any(unicodedata.category(character) == "Cc" for character in text):
        return "contains a control character, such as a line break"
    return ""


def read_text_file(path: str) -> str:
    """Return the text of a file, without a byte order mark. Raises ValueError."""
    return decode_text(read_file(path))


def read_file(path: str) -> bytes:
    """Return the content of a file of at most FILE_LIMIT bytes. Raises ValueError.

    The path is not in the error: it may be a secret that was meant for the variable itself.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(FILE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a path"
        raise ValueError(f"names a file that cannot be read ({reason})") from None
    if len(content) > FILE_LIMIT:
        raise ValueError("names a file of more than 1 MiB")
    return content


def decode_text(content: bytes) -> str:
    """Decode UTF-8 or, with its byte order mark, UTF-16, as PowerShell writes it. Raises ValueError."""
    try:
        return content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("names a file that is not text in UTF-8") from None


def check_region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise ValueError("must be the name of a region, such as eu-central-1")
    return text


def check_access_key(text: str) -> str:
    if " " in text:
        raise ValueError("contains a space")
    return check_token(text)


def check_token(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise ValueError("contains a character that is not printable ASCII")
    return text


def check_secret(text: str) -> str:
    if not text.isprintable():
        raise ValueError("contains a character that is not printable")
    return text
