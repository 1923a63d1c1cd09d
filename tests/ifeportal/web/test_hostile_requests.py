"""Hostile URLs, cookies and bodies never cause a server error, on either database."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import Client

from campaigns.models import Campaign
from fleet.models import Load, Tail
from ifeportal.models import Token
from tests.conftest import Cast
from tests.support.populated_airlines import portal_routes
from tests.support.profiles import scaled

VALUES = (
    *("a%00b", "%FF%FE", "%ED%A0%80", "..%2F..", "%0D%0AX-Injected%3A+1"),
    *("9" * 30, "9" * 5000, "-1", "1e400", "%EF%BC%91", "__class__"),
)
# Each parameter gets every so many values; together the parameters of a page get all.
EVERY = scaled(1, quick=6)
EVERY_OF_A_LIST = scaled(1, quick=11)  # of the API; each parameter gets all of them in the lists together
LISTS = [name for name, _ in portal_routes() if name.startswith("api-") and name.endswith("-list")]
FILTERS = (
    *("airline", "tail", "campaign", "content", "status", "error_code", "stalled", "listed", "search", "ordering"),
    *("page", "page_size", "bucket", "problem", "resolved", "kind", "loader_state"),
)
PARAMETERS = {
    "/": ("q", "sort", "status", "page"),
    "/airlines/ACME/": ("q", "sort", "status", "page", "all"),
    "/airlines/ACME/tails/N1/": ("campaign", "item", "q", "sort", "state", "page", "turns", "older", "export", "table"),
    "/airlines/ACME/campaigns/C1/": ("q", "sort", "state", "page", "items", "at", "export", "table"),
    "/airlines/ACME/campaigns/C1/matrix/": ("at",),
    "/audit/": ("who", "action", "q", "since", "until", "sort", "page", "size", "export"),
    "/airlines/ACME/audit/": ("who", "action", "q", "since", "until", "sort"),
    "/freshness/": ("airline",),
    "/moved/": ("export",),
    "/login/": ("next",),
    "/api/schema/": ("format", "lang", "version"),
    **{f"/api/v1/{name.removeprefix('api-').removesuffix('-list')}/": FILTERS for name in LISTS},
    "/admin/fleet/load/": ("q", "o", "p", "status__exact", "error_code", "id", "tail__airline__id__exact", "_to_field"),
    "/admin/ifeportal/user/": ("q", "o", "p", "username", "id", "is_staff__exact"),
}
PATHS = (
    *("/airlines/{}/moved/", "/airlines/ACME/tails/{}/rate/", "/airlines/ACME/campaigns/{}/readiness/"),
    *("/airlines/ACME/campaigns/{}/matrix/", "/airlines/ACME/tails/N1/?item={}"),
    *("/airlines/{}/", "/airlines/ACME/tails/{}/", "/airlines/ACME/campaigns/{}/", "/api/v1/loads/{}/", "/{}"),
    *("/static/{}", "/api/v1/{}/", "/admin/fleet/load/{}/change/"),
)
COOKIES = ('"\\000aaaaaaaaa"', "a" * 3000, "\xff" * 20, '"', "=;=")
BODIES = (
    *(b"", b"\xff", b"[1]", b"null", b"{", b"1e999", b"[" * 100_000, b'{"username": {"a": 1}, "password": []}'),
    *(json.dumps({"username": value, "password": value}).encode() for value in ("\0", "\ud800", "x" * 5000)),
)


@pytest.fixture
def ada(cast: Cast, client: Client) -> Client:
    cache.clear()  # the counts of the API's throttles
    tail = Tail.objects.create(airline=cast.acme, name="N1")
    Load.objects.create(tail=tail, campaign=Campaign.objects.create(airline=cast.acme, name="C1"))
    client.force_login(cast.ada)
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize("path", PARAMETERS)
def test_no_parameter_breaks_a_page_or_a_list(ada: Client, path: str) -> None:
    every = EVERY_OF_A_LIST if PARAMETERS[path] is FILTERS else EVERY
    addresses = [
        f"{path}?{name}={value}"
        for position, name in enumerate(PARAMETERS[path], start=list(PARAMETERS).index(path))
        for value in VALUES[position % every :: every]
    ]
    assert not [address[:80] for address in addresses if ada.get(address).status_code >= 500]


@pytest.mark.parametrize("path", PATHS)
def test_no_name_breaks_an_address(ada: Client, path: str) -> None:
    assert not [value[:40] for value in VALUES if ada.get(path.format(value)).status_code >= 500]


def test_a_name_with_a_nul_is_not_there(ada: Client) -> None:
    for path in ("/airlines/AC%00ME/", "/airlines/ACME/tails/N1%00/", "/airlines/ACME/campaigns/%00/"):
        assert ada.get(path).status_code == 404


@pytest.mark.parametrize("name", ["sessionid", "csrftoken", "theme", "messages"])
def test_no_cookie_breaks_a_request(db: None, name: str) -> None:
    for value in COOKIES:
        client = Client(raise_request_exception=False, HTTP_COOKIE=f"{name}={value}")
        for path in ("/", "/login/", "/healthz", "/api/v1/loads/", "/admin/login/"):
            assert client.get(path).status_code < 500, f"{path} with {value[:40]}"


FORMS: dict[str, dict[str, Any]] = {
    "fields": {f"field{number}": "x" for number in range(settings.DATA_UPLOAD_MAX_NUMBER_FIELDS + 1)},
    "files": {f"file{number}": BytesIO(b"x") for number in range(settings.DATA_UPLOAD_MAX_NUMBER_FILES + 1)},
}


@pytest.mark.parametrize("case", FORMS)
def test_a_form_with_too_many_fields_or_files_is_refused(ada: Client, case: str) -> None:
    for path in ("/login/", "/account/tokens/", "/exports/"):
        for file in FORMS[case].values():
            if isinstance(file, BytesIO):
                file.seek(0)
        assert ada.post(path, FORMS[case]).status_code == 400, path


def test_a_part_of_a_form_with_long_headers_is_refused(ada: Client) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="name"\r\nX-Long: ' + b"y" * 2_000 + b"\r\n\r\nx\r\n--b--\r\n"
    answer = ada.post("/account/tokens/", part, content_type="multipart/form-data; boundary=b")
    assert answer.status_code == 400
    assert not Token.objects.exists()


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:24]))
def test_no_body_breaks_a_page_that_accepts_one(ada: Client, body: bytes) -> None:
    for path in ("/account/tokens/", "/airlines/ACME/settings/", "/airlines/ACME/tails/N1/duty/"):
        for kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            assert ada.post(path, body, content_type=kind).status_code < 500, (path, kind)
