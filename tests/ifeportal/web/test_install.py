"""What makes the portal installable: the manifest, the service worker, and the offline page."""

from __future__ import annotations

import json
import re

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from tests.conftest import Cast
from tests.support.html import page_html

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_the_manifest_has_what_browsers_require_to_install(client: Client) -> None:
    answer = client.get("/manifest.webmanifest")
    assert answer.headers["Content-Type"] == "application/manifest+json"
    manifest = json.loads(answer.content)
    assert manifest["display"] == "standalone"
    assert (manifest["start_url"], manifest["scope"]) == ("/", "/")
    assert {icon["sizes"] for icon in manifest["icons"] if icon["purpose"] == "any"} == {"192x192", "512x512"}
    assert any(icon["purpose"] == "maskable" for icon in manifest["icons"])
    for icon in manifest["icons"]:
        assert finders.find(icon["src"].removeprefix("/static/"))


def test_the_service_worker_is_of_the_whole_site_and_never_cached(client: Client) -> None:
    answer = client.get("/sw.js")
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert "no-cache" in answer.headers["Cache-Control"]
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_the_service_worker_stores_static_files_and_the_offline_page_alone(client: Client) -> None:
    script = client.get("/sw.js").content.decode()
    found = re.match(r"const SETUP = (.*);\n", script)
    assert found
    setup = json.loads(found[1])
    assert setup["offline"] == "/offline/"
    assert all(name.startswith("/static/") for name in setup["files"])


def test_the_offline_page_has_nothing_of_the_user(cast: Cast, client: Client) -> None:
    anonymous = page_html(client.get("/offline/"))
    client.force_login(cast.mona)
    assert page_html(client.get("/offline/")) == anonymous


def test_every_page_names_the_manifest_and_the_icon_of_ios(cast: Cast, client: Client) -> None:
    client.force_login(cast.mona)
    html = page_html(client.get("/"))
    assert '<link rel="manifest" href="/manifest.webmanifest">' in html
    assert 'rel="apple-touch-icon"' in html
