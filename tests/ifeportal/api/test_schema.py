"""The OpenAPI schema is complete and correct, and its page loads nothing from other sites."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import override_settings
from rest_framework.test import APIClient

from ifeportal.api.schema_generator import CachedSchemaGenerator
from tests.conftest import Cast
from tests.support.api_fleet import ENDPOINTS, OTHER_ENDPOINTS, ClientOf

# Component names, which generated clients use: they stay, whatever the classes are called.
COMPONENTS = {
    *(f"{name}Row" for name in ("Acknowledgement", "Airline", "Anomaly", "Audit", "Campaign", "Change", "Content")),
    *(f"{name}Row" for name in ("Event", "Fault", "Group", "Load", "Moved", "Store", "Tail", "Transfer", "Trouble")),
    *("UsageRow", "OperationRow", "AcknowledgementQuestion", "ChangesAnswer", "PatchedTailChange", "Problem"),
}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    out = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)
    document: dict[str, Any] = yaml.safe_load(out.getvalue())
    return document


def test_the_schema_is_valid_and_made_without_a_warning(schema: dict[str, Any]) -> None:
    expected = {f"/api/v1/{name}/" for name in ENDPOINTS} | {f"/api/v1/{name}/{{id}}/" for name in ENDPOINTS}
    others = {f"/api/v1/{name}/" for name in OTHER_ENDPOINTS}
    verbs = {f"/api/v1/operations/{{id}}/{verb}/" for verb in ("cancel", "events", "retry")}
    verbs |= {f"/api/v1/uploads/{{id}}/{verb}/" for verb in ("complete", "parts")}
    assert set(schema["paths"]) == expected | {"/api/v1/"} | others | verbs


def test_the_names_of_components_are_stable_for_generated_clients(schema: dict[str, Any]) -> None:
    assert set(schema["components"]["schemas"]) >= COMPONENTS


def test_every_operation_names_its_errors(schema: dict[str, Any]) -> None:
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            codes = set(operation["responses"])
            assert {"401", "429", "503"} < codes
            assert {"200", "201", "202", "204"} & codes
            assert ("404" in codes) == (path != "/api/v1/")
            assert operation["summary"]
            for code in codes - {"200", "201", "202", "204", "304"}:
                assert list(operation["responses"][code]["content"]) == ["application/problem+json"]


def test_every_filter_the_contract_names_is_in_the_schema(schema: dict[str, Any]) -> None:
    for name in ("transfers", "loads"):
        offered = {parameter["name"] for parameter in schema["paths"][f"/api/v1/{name}/"]["get"]["parameters"]}
        assert {
            "airline",
            "tail",
            "campaign",
            "status",
            "stalled",
            "q",
            "ordering",
            "page",
            "page_size",
            "paging",
            "cursor",
        } < offered


def test_a_row_answers_to_its_schema(schema: dict[str, Any], fleet: Cast, client_of: ClientOf) -> None:
    client = client_of(fleet.olga)
    for name in ENDPOINTS:
        row = client.get(f"/api/v1/{name}/").json()["results"][0]
        reference = schema["paths"][f"/api/v1/{name}/{{id}}/"]["get"]["responses"]["200"]["content"]["application/json"]
        described = schema["components"]["schemas"][reference["schema"]["$ref"].rsplit("/", 1)[1]]["properties"]
        assert set(row) == set(described)
        for column, value in row.items():
            assert value is not None or described[column].get("nullable"), column


def test_the_schema_is_served_to_those_who_signed_in(cast: Cast, client_of: ClientOf) -> None:
    assert client_of(cast.nick).get("/api/schema/").status_code == 200
    assert APIClient().get("/api/schema/").status_code == 401


def test_the_schema_is_generated_once_and_the_same_for_all_users(
    cast: Cast, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CachedSchemaGenerator, "_generated", {})
    generated: list[object] = []
    generate = CachedSchemaGenerator._generate

    def counted(self: CachedSchemaGenerator, request: Any, public: bool) -> dict[str, Any]:
        generated.append(request)
        return generate(self, request, public)

    monkeypatch.setattr(CachedSchemaGenerator, "_generate", counted)
    first, second = (client_of(user).get("/api/schema/?format=json").json() for user in (cast.nick, cast.ada))
    assert first == second
    assert len(generated) == 1
    other = client_of(cast.nick).get("/api/schema/?format=json&version=7").json()
    assert (first["info"]["version"], other["info"]["version"]) == ("1", "1 (7)")
    assert client_of(cast.nick).get("/api/schema/?format=json&lang=de").status_code == 200
    assert len(generated) == 3, "nothing that a request names is stored"


def test_its_page_sends_a_stranger_to_sign_in(db: None) -> None:
    answer = APIClient().get("/api/docs/")
    assert answer.status_code == 302
    assert answer["Location"].endswith("?next=/api/docs/")


@pytest.mark.parametrize("policy", [{"default-src": ["'self'"]}, {"default-src": ["'self'"], "img-src": ["'self'"]}])
def test_its_page_asks_the_policy_only_for_drawn_icons(
    cast: Cast, client_of: ClientOf, policy: dict[str, list[str]]
) -> None:
    client = client_of(cast.nick)
    with override_settings(CONTENT_SECURITY_POLICY={"DIRECTIVES": policy}):
        assert "data:" not in client.get("/api/v1/")["Content-Security-Policy"]
        directives = client.get("/api/docs/")["Content-Security-Policy"].split("; ")
    assert [d.split()[0] for d in directives if "data:" in d] == ["img-src"]
    assert "default-src 'self'" in directives
    assert "unsafe" not in " ".join(directives)


def test_its_page_has_nothing_inline_and_nothing_from_outside(cast: Cast, client_of: ClientOf) -> None:
    client = client_of(cast.nick)
    html = client.get("/api/docs/").content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\bsrc=)", html)
    addresses = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert all(address.startswith("/") and not address.startswith("//") for address in addresses)
    files = [address.removeprefix("/static/") for address in addresses if address.startswith("/static/")]
    assert len(files) == 5
    assert all(finders.find(file) for file in files)
    script = client.get("/api/docs/?script=")
    assert script["Content-Type"].startswith("application/javascript")
    assert "SwaggerUIBundle(" in script.content.decode()
