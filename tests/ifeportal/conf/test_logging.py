"""Log lines are one JSON object each, contain no secrets, and cannot be forged from outside."""

from __future__ import annotations

import base64
import io
import json
import logging
import logging.config
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest

from ifeportal.conf.logging import logging_settings

SECRET = "s3cr3t-of-the-portal"


class Log:
    """Return a logger with our formatter, and its output."""

    def __init__(self, as_json: bool, secret: str = SECRET) -> None:
        made = logging_settings(level="INFO", as_json=as_json, secrets=[secret])
        configured = logging.config.DictConfigurator(made)
        self.written = io.StringIO()
        handler = logging.StreamHandler(self.written)
        handler.setFormatter(configured.configure_formatter(made["formatters"]["structured"]))
        self.logger = logging.Logger("fleet.polling.poller")
        self.logger.addHandler(handler)

    @contextmanager
    def as_root(self) -> Iterator[None]:
        """Make all loggers write here."""
        before, logging.root.handlers[:] = list(logging.root.handlers), list(self.logger.handlers)
        try:
            yield
        finally:
            logging.root.handlers[:] = before

    @property
    def text(self) -> str:
        return self.written.getvalue()

    @property
    def line(self) -> dict[str, Any]:
        (line,) = self.text.splitlines()
        answer: dict[str, Any] = json.loads(line)
        return answer


@pytest.fixture
def log() -> Log:
    return Log(as_json=True)


@pytest.fixture
def readable() -> Log:
    return Log(as_json=False)


def test_a_line_is_one_json_object_with_time_level_logger_and_what_was_added(log: Log) -> None:
    log.logger.warning("polled %s", "ACME", extra={"objects": 20})
    assert log.line.pop("timestamp").endswith("Z")
    assert log.line | {"timestamp": ""} == {
        "event": "polled ACME",
        "level": "warning",
        "logger": "fleet.polling.poller",
        "objects": 20,
        "timestamp": "",
    }


@pytest.mark.parametrize(
    "hostile", ["a\nb", "a\r\nb", "a\x1b[31mb", "a\x00b", "a\u202eb", "a\u2028b", "a\x9bb", "a\ud800b"]
)
def test_no_input_can_forge_a_line_or_control_a_terminal(hostile: str) -> None:
    for as_json in (True, False):
        log = Log(as_json)
        log.logger.info("key %s", hostile, extra={"key": hostile, "keys": [hostile, {hostile: hostile}]})
        assert len(log.text.splitlines()) == 1
        body = log.text.rstrip("\n")
        assert body.isprintable()


def test_ordinary_foreign_letters_are_unchanged(readable: Log) -> None:
    readable.logger.info("Ünïcödé 映画")
    assert "Ünïcödé 映画" in readable.text


@pytest.mark.parametrize(
    "text",
    [
        f"connecting with {SECRET}",
        "GET https://s3/x?X-Amz-Credential=AKIAFINDME&X-Amz-Signature=f1ndm3",
        "postgres://ife:f1ndm3@database/ife",
        "AWS4-HMAC-SHA256 Credential=x, Signature=f1ndm3f1ndm3f1ndm3".replace("f1ndm3", "abcdef0123"),
    ],
)
def test_secrets_are_redacted_everywhere(text: str) -> None:
    for as_json in (True, False):
        log = Log(as_json)
        try:
            raise ValueError(text)
        except ValueError:
            log.logger.exception("failed: %s", text, extra={"url": text, "password": "f1ndm3"})
        for secret in (SECRET, "f1ndm3", "AKIAFINDME", "abcdef0123"):
            assert secret not in log.text
        assert "[hidden]" in log.text


def test_a_traceback_is_in_the_line_and_keeps_its_shape(log: Log) -> None:
    try:
        raise ValueError("hostile\x1b[2J")
    except ValueError:
        log.logger.exception("failed")
    assert "\n  File " in log.line["exception"]
    assert "\\x1b[2J" in log.line["exception"]


def test_a_request_with_its_cookies_is_never_in_a_line(log: Log) -> None:
    log.logger.warning("Not Found: /x", extra={"request": "<cookie: f1ndm3>", "status_code": 404})
    assert "f1ndm3" not in log.text
    assert log.line["status_code"] == 404


def test_a_secret_is_hidden_in_the_forms_a_traceback_gives_it() -> None:
    secret = "pass\r'wörd\"of\\the+cinema"
    texts = [secret, repr(secret), repr(secret.encode()), json.dumps(secret), quote(secret, safe="")]
    texts.append(base64.b64encode(f"user:{secret}".encode()).decode())
    for as_json in (True, False):
        log = Log(as_json, secret)
        try:
            raise ValueError({"texts": texts}, secret.encode())
        except ValueError:
            log.logger.exception("failed: %s", texts, extra={"texts": texts, "raw": secret.encode()})
        assert log.text.count("[hidden]") >= 20
        for form in texts:
            assert form.strip("\"'b") not in log.text
        for part in ("rd\\", "cinema", texts[-1][8:]):
            assert part not in log.text


def test_a_password_with_an_at_sign_is_hidden_whole(readable: Log) -> None:
    readable.logger.info("connecting to redis://:p@ss@cache:6379/0")
    assert "ss@" not in readable.text


@pytest.mark.parametrize(("level", "of_templates"), [("DEBUG", "INFO"), ("INFO", "INFO"), ("ERROR", "ERROR")])
def test_templates_never_log_their_context(level: str, of_templates: str) -> None:
    loggers = logging_settings(level=level, as_json=True)["loggers"]
    assert loggers["django.template"] == {"level": of_templates}
