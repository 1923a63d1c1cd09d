r"""Hides secrets in text that is displayed, logged or sent: unchanged, and in the encodings other code applies.

Errors rarely quote a value unchanged: a traceback contains its `repr` (`\r`, `\xe9`, `\'`), a body its JSON, an address
its URL quoting, a header base64. Each secret is searched for in all of these, mixed and nested. `redact.keep` adds the
secrets of the settings, `redact.learn` keys that become known later (a profile, an instance role). Pure except for
these lists.
"""

from __future__ import annotations

import base64
import math
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Final
from urllib.parse import unquote

HIDDEN: Final = "[hidden]"
SHORTEST: Final = 6  # characters; hiding shorter secrets would hide ordinary words
SECRETS: Final = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
LEARNED_LIMIT: Final = 64  # temporary keys are renewed while the process runs; the newest remain hidden
_ADDRESSES: Final = re.compile(r"(?i)(?:https?|all)_proxy|AWS_ENDPOINT_URL(?:_\w+)?|\w+_URL")
_NAMES: Final = (
    r"X-Amz-(?:Signature|Credential|Security-Token|S3session-Token)|AWSAccessKeyId|Signature|Credential|Authorization"
    r"|sessionid|csrftoken|csrfmiddlewaretoken"
)
# As a header, a parameter, an entry of a dictionary or a pair; of text or bytes, perhaps in a string of a string.
_IS: Final = r"(?:\\*[\"']?\s*(?:[=:]|%3[AaDd])\s*|\\*[\"']\s*,\s*)(?:b(?=\\*[\"']))?\\*[\"']?"
_SCHEMES: Final = r"(?:(?:AWS4-HMAC-SHA256|AWS|Bearer|Basic|Token|Digest|Negotiate)\s+)?"
_SIGNED: Final = re.compile(rf"(?i)((?:{_NAMES}){_IS}){_SCHEMES}[^\s\"'&,;<>]+")
_USERINFO: Final = re.compile(r"(?<=://)[^\s/]+@")
_LETTERS: Final = {"\t": "t", "\n": "n", "\r": "r", "\b": "b", "\f": "f", "\a": "a", "\v": "v", "\0": "0"}
# Each level of repr or JSON doubles backslashes. Bounded, so that every search is fast.
_SOME: Final = r"\\{0,16}"
_MORE: Final = r"\\{1,16}"


class Redactor:
    """Removes secrets from texts. Thread-safe."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._kept: dict[str, re.Pattern[str]] = {}
        self._learned: dict[str, re.Pattern[str]] = {}
        self._longest_first: tuple[re.Pattern[str], ...] = ()
        self._lock = threading.Lock()
        self.keep(*secrets)

    def keep(self, *secrets: str) -> None:
        """Hide these secrets as long as the process runs."""
        self._add(self._kept, secrets)

    def learn(self, *secrets: str) -> None:
        """Hide these secrets from now on, until LEARNED_LIMIT newer ones are learned."""
        self._add(self._learned, secrets)

    def _add(self, patterns: dict[str, re.Pattern[str]], secrets: Iterable[str]) -> None:
        texts = [secret.strip() for secret in secrets]
        new = [text for text in texts if len(text) >= SHORTEST and text not in self._kept and text not in patterns]
        if not new:
            return
        with self._lock:
            patterns.update((text, re.compile(_pattern(text))) for text in new)
            while len(self._learned) > LEARNED_LIMIT:
                del self._learned[next(iter(self._learned))]
            # A secret may contain a shorter one.
            longest_first = sorted((self._learned | self._kept).items(), key=lambda item: len(item[0]), reverse=True)
            self._longest_first = tuple(pattern for _, pattern in longest_first)

    def __call__(self, text: str) -> str:
        """Return the text without secrets, signatures, and user names and passwords in addresses."""
        for pattern in self._longest_first:
            text = pattern.sub(HIDDEN, text)
        return _USERINFO.sub(f"{HIDDEN}@", _SIGNED.sub(rf"\1{HIDDEN}", text))


redact: Final = Redactor()  # the secrets of this process, from any source


def secrets_in(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield secrets in AWS's variables, and passwords in addresses: of proxies, the store, the database and so on."""
    yield from (environment.get(name, "") for name in SECRETS)
    for name in filter(_ADDRESSES.fullmatch, environment):
        yield from passwords_in(environment[name])


def passwords_in(address: str) -> Iterator[str]:
    """Yield the password of an address, as written and decoded. Accepts addresses that no parser does."""
    credentials, _, _ = address.rpartition("://")[2].rpartition("@")
    password = credentials.partition(":")[2]
    yield from (password, unquote(password))


# Regular expressions for one secret.


def _pattern(secret: str) -> str:
    """Return a pattern for the secret in any encoding, without surrounding white space, which may be trimmed."""
    runs = ((character, len(list(run))) for character, run in groupby(secret))
    text = "".join(_backslashes(n) if character == "\\" else _character(character) * n for character, n in runs)
    return "|".join((text, *_base64_patterns(secret)))


def _backslashes(count: int) -> str:
    """Match a run of backslashes as a unit: escapes among them cannot be distinguished."""
    return rf"(?:\\|{_percent(b'%c' % 92)}){{{count},{16 * count}}}"


def _character(character: str) -> str:
    """Match a character: unchanged, escaped by a backslash, by its code point, or URL-quoted."""
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
    """Match URL quoting, which may be quoted again."""
    return "(?i:" + "".join(f"%(?:25){{0,4}}{byte:02x}" for byte in encoded) + ")"


def _base64_patterns(secret: str) -> Iterator[str]:
    """Yield patterns for base64 of texts with the secret: one per offset, without digits that neighbours determine."""
    for offset in range(3):
        data = bytes(offset) + secret.encode(errors="surrogatepass")
        digits = base64.b64encode(data).decode()
        complete = len(data) * 8 // 6  # digits that depend on the secret alone
        rest = "[A-Za-z0-9+/_-]?" if len(data) * 8 % 6 else ""
        core = "".join(map(_base64_digit, digits[math.ceil(offset * 8 / 6) : complete]))
        yield f"{core}{rest}(?:=|{_percent(b'=')}){{0,2}}"


def _base64_digit(digit: str) -> str:
    """Match a digit of either base64 alphabet, quoted or not."""
    other = {"+": "-", "/": "_"}.get(digit)
    return f"(?:{_character(digit)}|{other})" if other else digit
