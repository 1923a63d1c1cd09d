"""Strict JSON parser with bounded time and memory, and typed access to the values.

Standard library only; pure. Python's own parser accepts NaN, 1e400, duplicate keys, unpaired surrogates and any depth.
This one refuses each of them, before or while parsing, with a message that names the place.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Final, NoReturn, TypeVar

from loader.contract.document_text import UnreadableDocument, decode_document, decode_plain
from loader.errors import Code, ContractError

DEPTH_LIMIT: Final = 16
VALUES_LIMIT: Final = 1_000_000
DIGITS_LIMIT: Final = 40
INT_LIMIT: Final = 2**53  # largest integer that a double holds exactly, as in JavaScript

E = TypeVar("E", bound=ContractError)

# Possessive, and with an optional closing quote: no input makes the regex backtrack.
_TOKENS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_BLANKS: Final = " \t\n\r"
_MISTAKES: Final[Mapping[str, str]] = {
    "\0": "a NUL character",
    "\x1a": "a Ctrl-Z character, which old Windows tools append",
    "\ufeff": "a byte order mark in the middle",
    "\xa0": "a non-breaking space",
    "/": "comments are not JSON",
    "#": "comments are not JSON",
    "'": "texts need double quotes",
    "\u201c": "a typographic quotation mark; texts need plain double quotes",
    "\u201d": "a typographic quotation mark; texts need plain double quotes",
    "\u201e": "a typographic quotation mark; texts need plain double quotes",
}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

_DATETIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)


class _Refused(ValueError):
    """Raised inside the parser's hooks; never leaves this module."""


def loads(body: bytes, *, limit: int, error: type[E], any_form: bool = False) -> object:
    """Return the value in `body`. `any_form`: people write it, so it may have any form that `decode_document` reads.

    Raises:
        error: the body exceeds `limit` bytes (also when decompressed) or a limit of this module, has a form that
            `loader.contract.document_text` does not read, or is not strict JSON.
    """
    if len(body) > limit:
        raise error(f"the document is longer than {limit:,} bytes")
    try:
        text = decode_document(body, limit) if any_form else decode_plain(body)
    except UnreadableDocument as exc:
        raise error(str(exc)) from exc
    _check_size_and_depth(text, error)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_reject_constant,
            parse_float=_parse_finite,
            parse_int=_parse_short_integer,
        )
    except json.JSONDecodeError as exc:
        reason = (_explain(text, exc.pos) if any_form else "") or exc.msg
        raise error(f"line {exc.lineno}, column {exc.colno}: not JSON ({reason})") from exc
    except _Refused as exc:
        raise error(str(exc)) from exc
    if "\\u" in text:  # only escapes produce them: no encoding passes surrogates, JSON has no raw NUL
        _check_strings(value, "", error)
    return value


def dumps(value: object) -> bytes:
    """Return `value` as readable JSON: UTF-8, indented, ending in a newline."""
    return (json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()


def _explain(text: str, position: int) -> str:
    """Return the usual mistake that makes the text at `position` not JSON; empty for any other."""
    if not text.strip():
        return "the document is empty"
    found, before = text[position : position + 1], text[:position].rstrip(_BLANKS)[-1:]
    if found == "<" and not before:
        return "an HTML or XML page, perhaps an error page of a store or proxy"
    if before == "," and (found in ("]", "}") or not found):
        return "a comma after the last value"
    return _MISTAKES.get(found, "")


def _check_size_and_depth(text: str, error: type[E]) -> None:
    # Before parsing, in one pass: the parser recurses and would allocate everything first.
    if text.count(",") + text.count("[") + text.count("{") > VALUES_LIMIT:
        raise error(f"the document contains more than {VALUES_LIMIT:,} values")
    depth = 0
    for token in _TOKENS.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth > DEPTH_LIMIT:
                raise error(f"character {token.start()}: nested deeper than {DEPTH_LIMIT} levels")
        elif first != '"':
            depth -= 1


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        again, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise _Refused(f"the key {again[:80]!a} appears twice in one object")
    return found


def _reject_constant(word: str) -> NoReturn:
    raise _Refused(f"{word} is not JSON")


def _parse_finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _Refused(f"the number {digits[:40]} is too large")
    return number


def _parse_short_integer(digits: str) -> int:
    if len(digits) > DIGITS_LIMIT:
        raise _Refused(f"a number has more than {DIGITS_LIMIT} digits")
    return int(digits)


def _check_strings(value: object, path: str, error: type[E]) -> None:
    """Refuse strings that a database, a file name or UTF-8 cannot store. Recursion is bounded by `DEPTH_LIMIT`."""
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise error(f"{path or 'the text'}: contains a NUL character or an unpaired surrogate")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_strings(key, f"a key of {path or 'the object'}", error)
            shown = key[:80] if key.isprintable() else ascii(key[:80])
            _check_strings(inner, f"{path}.{shown}" if path else shown, error)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_strings(inner, f"{path}[{index}]", error)


class Fields:
    """Typed access to a JSON object. Each method removes its field; `extra` has the fields that remain.

    A null field counts as missing. Every error sentence begins with `path`, for example "content[3]".
    """

    def __init__(self, value: object, path: str, error: type[ContractError]) -> None:
        if not isinstance(value, dict):
            raise error(f"{path or 'the document'}: must be an object, not {json_type_name(value)}")
        self.extra: dict[str, object] = dict(value)
        self._path = path
        self._error = error

    def fail(self, name: str, why: str, *, code: Code | None = None) -> NoReturn:
        """Raise the error of this object for the field `name`."""
        raise self._error(f"{self.path_of(name)}: {why}", code=code)

    def path_of(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def pop(self, name: str) -> object:
        """Remove and return a field; None if missing."""
        return self.extra.pop(name, None)

    def text(self, name: str, default: str = "") -> str:
        value = self.pop(name)
        if value is None:
            return default
        if not isinstance(value, str):
            self.fail(name, f"must be a string, not {json_type_name(value)}")
        return value

    def integer(self, name: str, low: int = 0, high: int = INT_LIMIT) -> int | None:
        """Return an integer from `low` to `high`; None if missing. `true` and `1.0` are refused."""
        value = self.pop(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(name, f"must be a whole number, not {json_type_name(value)}")
        if not low <= value <= high:
            self.fail(name, f"must be between {low} and {high}, not {value}")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        value = self.pop(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fail(name, f"must be true or false, not {json_type_name(value)}")
        return value

    def iso_date(self, name: str) -> date | None:
        """Return a date written as YYYY-MM-DD; None if missing or empty."""
        value = self.text(name)
        if not value:
            return None
        try:
            if _DATE.fullmatch(value):
                return date.fromisoformat(value)
        except ValueError:
            pass
        self.fail(name, f"must be a date such as 2026-12-31, not {value[:40]!a}")

    def datetime_with_offset(self, name: str) -> datetime | None:
        """Return a time written with its offset, such as 2026-12-31T23:59:00Z, in UTC; None if missing."""
        if self.extra.get(name) is None:
            self.pop(name)
            return None
        value = self.text(name)
        try:
            if _DATETIME.fullmatch(value):
                return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        self.fail(name, f"must be a time with an offset such as 2026-12-31T23:59:00Z, not {value[:40]!a}")

    def datetime_or_utc(self, name: str) -> datetime | None:
        """Return an ISO 8601 time in UTC, the default if it has no offset; None if missing or empty."""
        value = self.text(name)
        if not value:
            return None
        try:
            moment = datetime.fromisoformat(value)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.fail(name, f"must be an ISO 8601 time such as 2026-12-31T23:59:00Z, not {value[:40]!a}")

    def array(self, name: str) -> list[object]:
        value = self.pop(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.fail(name, f"must be a list, not {json_type_name(value)}")
        return value


def format_utc(when: datetime, timespec: str = "auto") -> str:
    """Return an aware time as ISO 8601 in UTC, ending in Z. `timespec`: as of `datetime.isoformat`."""
    return when.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def with_extra(known: Mapping[str, object], extra: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a JSON object: those of `known` that are not None, then the unknown ones."""
    written = {name: value for name, value in known.items() if value is not None}
    return written | {name: value for name, value in extra.items() if name not in known}


def format_utc_or_none(when: datetime | None, timespec: str = "auto") -> str | None:
    """Return `format_utc` of a time, None for None."""
    return None if when is None else format_utc(when, timespec)


def json_type_name(value: object) -> str:
    """Return the type of a value in JSON's words, for error sentences."""
    names: Mapping[type, str] = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    names = {**names, int: "a number", float: "a fraction", type(None): "null"}
    return names.get(type(value), "something else")
