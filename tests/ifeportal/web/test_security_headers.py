"""Headers of every response, and those that production adds."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils.http import content_disposition_header

from tests.conftest import Cast
from tests.support.production_environment import PRODUCTION, manage

SHOWN = (
    "SECURE_SSL_REDIRECT",
    "SECURE_HSTS_SECONDS",
    "SESSION_COOKIE_SECURE",
    "CSRF_COOKIE_SECURE",
    "SECURE_PROXY_SSL_HEADER",
    "SESSION_COOKIE_AGE",
    "DATABASES",
    "STORAGES",
    "DEBUG",
)


def effective(shown: Sequence[str] = SHOWN, **environment: str) -> dict[str, Any]:
    values = f"{{name: getattr(settings, name) for name in {tuple(shown)}}}"
    script = f"import json; from django.conf import settings; print(json.dumps({values}))"
    done = manage("shell", "-v", "0", "-c", script, **environment)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_production_is_https_only_with_secure_cookies_and_hashed_static_names() -> None:
    found = effective(**PRODUCTION)
    assert not found["DEBUG"]
    assert found["SECURE_SSL_REDIRECT"]
    assert found["SESSION_COOKIE_SECURE"]
    assert found["CSRF_COOKIE_SECURE"]
    assert found["SECURE_HSTS_SECONDS"] == 365 * 86400
    assert found["SECURE_PROXY_SSL_HEADER"] is None
    assert found["STORAGES"]["staticfiles"]["BACKEND"] == "ifeportal.web.staticfiles.HashedStaticFiles"


def test_the_proxys_header_counts_only_when_there_is_a_proxy() -> None:
    assert effective(**PRODUCTION | {"BEHIND_PROXY": "1"})["SECURE_PROXY_SSL_HEADER"] == [
        "HTTP_X_FORWARDED_PROTO",
        "https",
    ]


def test_a_server_database_that_is_away_is_noticed_within_seconds() -> None:
    database = effective(**PRODUCTION)["DATABASES"]["default"]
    assert database["OPTIONS"]["connect_timeout"] <= 5
    assert database["CONN_MAX_AGE"] == 0
    assert database["CONN_HEALTH_CHECKS"]


def test_development_is_plain_http_on_sqlite_that_waits_for_its_turn() -> None:
    found = effective()
    assert not found["SECURE_SSL_REDIRECT"]
    options = found["DATABASES"]["default"]["OPTIONS"]
    assert options["transaction_mode"] == "IMMEDIATE"
    assert options["timeout"] == 20
    assert "journal_mode=WAL" in options["init_command"]


def test_a_session_ends_after_a_working_day() -> None:
    assert settings.SESSION_COOKIE_AGE <= 8 * 3600


@pytest.mark.parametrize("address", ["/", "/login/", "/healthz", "/api/v1/", "/exports/", "/admin/", "/no/such/page"])
def test_no_address_answers_a_trace(client: Client, cast: Cast, address: str) -> None:
    client.force_login(cast.ada)
    answer = client.generic("TRACE", address, HTTP_X_SECRET="echo me")
    assert answer.status_code in (404, 405)
    assert b"echo me" not in answer.content


def test_the_name_of_a_download_has_no_control_characters() -> None:
    header = content_disposition_header(True, 'a"b\r\nX-Injected: 1 ü.csv')
    assert header is not None
    assert "\r" not in header
    assert "\n" not in header


@pytest.mark.parametrize("address", ["/", "/login/", "/no/such/page", "/healthz", "/api/v1/"])
def test_every_answer_forbids_foreign_scripts_frames_and_sniffing(client: Client, cast: Cast, address: str) -> None:
    client.force_login(cast.alice)
    answer = client.get(address)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert re.search(r"connect-src 'self' https?://[a-z0-9.:-]+(;|$)", policy), "uploads go to the store"
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "same-origin"
