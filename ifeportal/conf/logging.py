"""Structured logs: one JSON object per line in production, readable lines in development.

All code logs through the standard library; structlog formats the lines. Log lines may contain text from a bucket or a
browser, so control characters are escaped and credentials redacted, in messages and in tracebacks.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
import unicodedata
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from loader.s3.auth.redaction import HIDDEN, Redactor, redact

SECRET_NAMES = re.compile(r"password|passwd|secret|token|authorization|cookie|signature|session_?key|api_?key", re.I)
API_TOKEN = re.compile(r"\bife_[0-9A-Za-z]{32,}")
# Addresses of the sign-in pages: the link that resets a password; what a sign-in service adds to its redirect.
RESET_LINK = re.compile(r"(?i)(login(?:/|%2F)forgotten(?:/|%2F))(?!(?:sent|done)(?:/|%2F))[^\s/\"'<>?&%]+")
SIGN_IN_QUERY = re.compile(r"(?i)(/login/[^\s?\"'<>]*\?)[^\s\"'<>]+")
DEPTH_LIMIT = 8
logger = logging.getLogger(__name__)


def logging_settings(*, level: str, as_json: bool, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """Return Django's LOGGING. Besides the secrets of the process, `secrets` are redacted in all lines."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _shared_processors(),
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    LogRedactor(secrets),
                    _renderer(as_json),
                ],
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Django's defaults attach handlers to these loggers, which would write every line twice.
            "django": {"handlers": [], "level": level, "propagate": True},
            # At DEBUG it writes the context of templates, with CSRF tokens.
            "django.template": {"level": "INFO" if level == "DEBUG" else level},
            "django.server": {"handlers": [], "level": level, "propagate": True},
            # Scanners send wrong Host headers all the time, and Django logs each at ERROR.
            "django.security.DisallowedHost": {"handlers": [], "level": "CRITICAL", "propagate": False},
            "botocore": {"level": "WARNING"},
            # At INFO, four lines for every poll of every airline.
            "django-q": {"level": "WARNING"},
            # At INFO, four lines for every sign-in.
            "axes": {"level": "WARNING"},
            "urllib3": {"level": "WARNING"},
            "asyncio": {"level": "WARNING"},
        },
    }


class LogRedactor:
    """Structlog processor that redacts secrets and escapes control characters in all values of a line."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._redactor = Redactor(secrets)

    def __call__(self, logger: WrappedLogger, name: str, line: EventDict) -> EventDict:
        return {key: self._redact(key, value) for key, value in line.items()}

    def _redact(self, key: object, value: object, depth: int = 0) -> object:
        if isinstance(key, str) and SECRET_NAMES.search(key):
            return HIDDEN
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth < DEPTH_LIMIT:
            if isinstance(value, Mapping):
                return {
                    self._redact_text(str(key)): self._redact(key, inner, depth + 1) for key, inner in value.items()
                }
            if isinstance(value, list | tuple | set | frozenset):
                return [self._redact(None, inner, depth + 1) for inner in value]
        # Only tracebacks may contain newlines.
        return self._redact_text(str(value), keep="\n" if key in ("exception", "stack") else "")

    def _redact_text(self, text: str, keep: str = "") -> str:
        return escape_control_characters(hide_links(redact(self._redactor(text))), keep)


def hide_links(text: str) -> str:
    """Return the text without links that reset a password, queries of sign-in pages, and tokens of the API."""
    text = RESET_LINK.sub(rf"\1{HIDDEN}", SIGN_IN_QUERY.sub(rf"\1{HIDDEN}", text))
    return API_TOKEN.sub(HIDDEN, text)


def install_exception_hooks() -> None:
    """Log uncaught exceptions of the process and its threads, so that their tracebacks are redacted too."""
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    elif logging.root.handlers:
        logger.critical("uncaught exception", exc_info=(kind, error, trace))
    else:  # before Django has configured the log
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))


def _uncaught_in_thread(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None:
        name = hook.thread.name if hook.thread else "unknown"
        logger.critical("uncaught exception in thread %s", name, exc_info=hook.exc_value)


def escape_control_characters(text: str, keep: str = "") -> str:
    r"""Return the text with control and format characters escaped as \x1b, \u202e and so on, except those in `keep`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if character in keep or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )  # fmt: skip


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _drop_request,
        structlog.processors.format_exc_info,
    ]


def _drop_request(logger: WrappedLogger, name: str, line: EventDict) -> EventDict:
    """Remove the request, which Django adds to its log lines: its headers contain cookies."""
    line.pop("request", None)
    return line


def _renderer(as_json: bool) -> Processor:
    if as_json:
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
