"""Logging of the loader: records, warnings and uncaught exceptions, as plain text or JSON lines.

With JSON every line is one object, like those of `loader.monitor.terminal`. Secrets of this process and everything that
looks like a signature are redacted, in tracebacks too.
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
    """Formats a record as one line. A traceback follows in the same line, its lines joined by " | "."""

    def __init__(self, redact: Redactor, *, as_json: bool) -> None:
        super().__init__()
        self._redact, self._as_json = redact, as_json

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        # Redact before splitting into lines: a secret may contain a line break.
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
    """Send log records from WARNING on, warnings and uncaught exceptions to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_LineFormatter(redact, as_json=as_json))
    logging.root.handlers[:] = [handler]
    logging.raiseExceptions = False  # an error of the log stream itself must not be written to stderr
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("Uncaught exception; the loader ends", exc_info=(kind, error, trace))


def _unraisable(hook: sys.UnraisableHookArgs) -> None:
    log.error("Exception ignored", exc_info=hook.exc_value)


def _uncaught_in_thread(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None:
        name = hook.thread.name if hook.thread else "unknown"
        log.critical("Uncaught exception; thread %s ends", name, exc_info=hook.exc_value)
