"""Logging of the loader: records, warnings and uncaught exceptions, as plain text or JSON lines.

With JSON every line is one object, like those of `loader.monitor.terminal`. Secrets are redacted everywhere, tracebacks
included: those this process was given or has found, and whatever looks like a signature.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

from loader.contract.item_reports import one_line
from loader.s3.auth.redaction import Redactor

log = logging.getLogger("loader")


class _LineFormatter(logging.Formatter):
    """One record, one line; a traceback follows in it, its own lines joined by " | "."""

    def __init__(self, redact: Redactor, *, as_json: bool) -> None:
        super().__init__()
        self._redact, self._as_json = redact, as_json

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        # Before it is cut into lines: a secret may have a line break.
        trace = self._redact(self.formatException(record.exc_info)) if record.exc_info else ""
        at = datetime.fromtimestamp(record.created, UTC)
        text, lines = one_line(self._redact(message)), [one_line(line) for line in trace.splitlines()]
        if not self._as_json:
            return " | ".join([f"{at:%H:%M:%S} {record.levelname} {text}", *lines])
        entry: dict[str, object] = {
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": "log",
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": text,
        }
        return json.dumps(entry | ({"traceback": lines} if lines else {}))


def configure_logging(stream: TextIO, redact: Redactor, *, as_json: bool) -> None:
    """From now on log records from WARNING on, warnings and what nobody caught go to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_LineFormatter(redact, as_json=as_json))
    logging.root.handlers[:] = [handler]
    logging.raiseExceptions = False  # a reader of the log that went away must not be told of in another place
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("This was not expected and ends the loader", exc_info=(kind, error, trace))


def _unraisable(hook: sys.UnraisableHookArgs) -> None:
    log.error("This could not be raised", exc_info=hook.exc_value)


def _uncaught_in_thread(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None:
        name = hook.thread.name if hook.thread else "a thread"
        log.critical("This was not expected and ends %s", name, exc_info=hook.exc_value)
