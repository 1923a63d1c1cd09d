r"""Hides secrets in text that is shown, logged or sent: as they are, and in the forms other code gives them.

An error seldom quotes a value unchanged: a traceback holds its `repr` (`\r`, `\xe9`, `\'`), a body its JSON, an address
its URL quoting, a header base64. Each secret is searched for in all of these, mixed and nested. Keys that become known
only later (a profile, an instance role) are added with `redact.learn`. Pure but for that list.
"""

from __future__ import annotations

import base64
import math
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Final
from urllib.parse import unquote, urlsplit

HIDDEN: Final = "[hidden]"
SHORTEST: Final = 6  # characters; hiding anything shorter would hide words
SECRETS: Final = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
LEARNED_LIMIT: Final = 64  # temporary keys are renewed for as long as the process runs; the newest are kept
_ADDRESSES: Final = re.compile(r"(?i)(?:https?|all)_proxy|AWS_ENDPOINT_URL(?:_\w+)?")
_SIGNED: Final = re.compile(
    r"(?i)((?:X-Amz-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|Signature|Credential|Authorization)"
    r"[\"']?\s*[=:]\s*[\"']?)(?:AWS4-HMAC-SHA256\s+|AWS\s+|Bearer\s+|Basic\s+)?[^\s\"'&,;<>]+"
)
_USERINFO: Final = re.compile(r"(?<=://)[^\s/]+@")
_LETTERS: Final = {"\t": "t", "\n": "n", "\r": "r", "\b": "b", "\f": "f", "\a": "a", "\v": "v", "\0": "0"}
# Each nesting of repr or JSON doubles backslashes. Bounded, so that no text takes long to search.
_SOME: Final = r"\\{0,16}"
_MORE: Final = r"\\{1,16}"


class Redactor:
    """Removes secrets from texts. Any number of threads may use it, and teach it more."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._longest_first: tuple[re.Pattern[str], ...] = ()
        self._lock = threading.Lock()
        self.learn(*secrets)

    def learn(self, *secrets: str) -> None:
        """Hide these, too, from now on. The oldest are forgotten beyond LEARNED_LIMIT."""
        for secret in secrets:
            text = secret.strip()
            if len(text) >= SHORTEST and text not in self._patterns:
                self._add(text)

    def _add(self, text: str) -> None:
        with self._lock:
            self._patterns[text] = re.compile(_pattern(text))
            while len(self._patterns) > LEARNED_LIMIT:
                del self._patterns[next(iter(self._patterns))]
            # A secret may contain a shorter one.
            self._longest_first = tuple(self._patterns[one] for one in sorted(self._patterns, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """The text without them, without signatures, without user and password of addresses."""
        for pattern in self._longest_first:
            text = pattern.sub(HIDDEN, text)
        return _USERINFO.sub(f"{HIDDEN}@", _SIGNED.sub(rf"\1{HIDDEN}", text))


redact: Final = Redactor()  # of this process: what it signs with, wherever that came from


def secrets_in(environment: Mapping[str, str]) -> Iterator[str]:
    """Secrets in the variables of AWS, and passwords in the addresses of proxies and the store."""
    yield from (environment.get(name, "") for name in SECRETS)
    for name in filter(_ADDRESSES.fullmatch, environment):
        try:
            yield unquote(urlsplit(environment[name]).password or "")
        except ValueError:  # no address, which its user reports
            continue


# One secret as a regular expression.


def _pattern(secret: str) -> str:
    """Match the secret in any form. White space around it is part of no form: others may have trimmed it."""
    runs = ((character, len(list(run))) for character, run in groupby(secret))
    text = "".join(_backslashes(n) if character == "\\" else _character(character) * n for character, n in runs)
    return "|".join((text, *_base64_patterns(secret)))


def _backslashes(count: int) -> str:
    """A run of them in one piece: how many of them are escapes cannot be told."""
    return rf"(?:\\|{_percent(b'%c' % 92)}){{{count},{16 * count}}}"


def _character(character: str) -> str:
    """One character: itself, with a backslash, by its number, or in a URL."""
    if character.isascii() and character.isalnum():
        return character
    quoted = f"{_SOME}{re.escape(character)}" if character in "'\"/" else re.escape(character)
    return f"(?:{'|'.join((quoted, *_escapes(character)))})"


def _escapes(character: str) -> Iterator[str]:
    number, utf8 = ord(character), character.encode(errors="surrogatepass")
    if character in _LETTERS:
        yield _MORE + _LETTERS[character]
    yield f"(?i:{_MORE}(?:x{number:02x}|u{number:04x}|U{number:08x}))"
    yield _percent(utf8)
    if character == " ":
        yield r"\+"
    if not character.isascii():
        yield "(?i:" + "".join(f"{_MORE}x{byte:02x}" for byte in utf8) + ")"
    if 0x7F < number < 0x100:
        yield _percent(bytes([number]))
    if number > 0xFFFF:
        high, low = divmod(number - 0x10000, 0x400)
        yield f"(?i:{_MORE}u{0xD800 + high:04x}{_MORE}u{0xDC00 + low:04x})"


def _percent(encoded: bytes) -> str:
    """URL quoting, which may be quoted again."""
    return "(?i:" + "".join(f"%(?:25){{0,4}}{byte:02x}" for byte in encoded) + ")"


def _base64_patterns(secret: str) -> Iterator[str]:
    """Base64 of any text that contains the secret: at each of three offsets, without the digits shared with others."""
    for offset in range(3):
        data = bytes(offset) + secret.encode(errors="surrogatepass")
        digits = base64.b64encode(data).decode()
        whole = len(data) * 8 // 6
        rest = "[A-Za-z0-9+/_-]?" if len(data) * 8 % 6 else ""
        core = "".join(map(_base64_digit, digits[math.ceil(offset * 8 / 6) : whole]))
        yield f"{core}{rest}(?:=|{_percent(b'=')}){{0,2}}"


def _base64_digit(digit: str) -> str:
    """Either alphabet, quoted or not."""
    other = {"+": "-", "/": "_"}.get(digit)
    return f"(?:{_character(digit)}|{other})" if other else digit
