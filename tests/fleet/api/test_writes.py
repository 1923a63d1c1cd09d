"""Operators acknowledge loads and set which tails are in service; writes are audited, other users cannot write."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.attention.keeping import recount
from fleet.choices import Status
from fleet.models import Acknowledgement, Load, Tail
from ifeportal.access import Role
from ifeportal.live.models import Change
from ifeportal.models import Airline, AuditEntry, Membership, User
from tests.conftest import Cast
from tests.support.api_fleet import NOON, ClientOf, make_load

pytestmark = pytest.mark.both_databases

NOTE = "Link crew called."


@pytest.fixture
def failed(cast: Cast) -> Load:
    load = make_load(cast.acme, "N7", "2026-12", status=Status.FAILED)
    recount(Airline.objects.all())
    Membership.objects.filter(user=cast.alice).update(role=Role.OPERATOR)
    return load


def question(load: Load, /, **other: Any) -> dict[str, Any]:
    return {"load": load.pk, "state": "failed", "note": NOTE, **other}


def test_an_operator_acknowledges_and_withdraws(cast: Cast, client_of: ClientOf, failed: Load) -> None:
    client = client_of(cast.alice)
    made = client.post("/api/v1/acknowledgements/", question(failed))
    assert made.status_code == 201
    row = made.json()
    assert (row["airline"], row["tail"], row["state"], row["note"], row["who"]) == (
        "ACME",
        "N7",
        "failed",
        NOTE,
        "alice",
    )
    [group] = client.get("/api/v1/attention/?acknowledged=true").json()["results"]
    assert group["heading"].startswith(group["subject"])
    assert group["loads"][0]["acknowledgement"] == row
    assert client.get("/api/v1/attention/").json()["count"] == 0
    for _ in range(2):
        assert client.delete(f"/api/v1/acknowledgements/{row['id']}/").status_code == 204
    assert Acknowledgement.objects.get().withdrawn_at is not None
    assert client.get("/api/v1/attention/").json()["count"] == 1
    entries = AuditEntry.objects.order_by("pk").values_list("action", "via", "who")
    assert list(entries) == [
        ("load.acknowledged", "api", "alice"),
        ("load.acknowledgement withdrawn", "api", "alice"),
    ]


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("bob", 404), ("nick", 404), ("olga", 201)])
def test_others_do_not(cast: Cast, client_of: ClientOf, failed: Load, who: str, status: int) -> None:
    viewer = User.objects.create_user("viewer")
    Membership.objects.create(user=viewer, airline=cast.acme)
    client = client_of(viewer if who == "viewer" else getattr(cast, who))
    assert client.post("/api/v1/acknowledgements/", question(failed)).status_code == status
    row = Acknowledgement.objects.create(load=failed, state="failed", note="n", who="x", at=NOON)
    after = client.delete(f"/api/v1/acknowledgements/{row.pk}/").status_code
    assert after == (204 if status == 201 else status)
    patched = client.patch(f"/api/v1/tails/{failed.tail_id}/", {"duty": "retired"}).status_code
    assert patched == (200 if status == 201 else status)
    assert AuditEntry.objects.exists() == (status == 201)


@pytest.mark.parametrize(
    ("other", "status"),
    [
        ({"state": "silent"}, 409),
        ({"state": "lost"}, 400),
        ({"note": " "}, 400),
        ({"load": 999}, 404),
        ({"load": "x"}, 400),
    ],
)
def test_invalid_writes_are_refused(
    cast: Cast, client_of: ClientOf, failed: Load, other: dict[str, Any], status: int
) -> None:
    answer = client_of(cast.alice).post("/api/v1/acknowledgements/", question(failed, **other))
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert not Acknowledgement.objects.exists()
    assert not AuditEntry.objects.exists()


def test_an_operator_takes_a_tail_out_of_service(cast: Cast, client_of: ClientOf, failed: Load) -> None:
    client, address = client_of(cast.alice), f"/api/v1/tails/{failed.tail_id}/"
    row = client.patch(address, {"duty": "stored", "aircraft_type": "A321"})
    assert row.status_code == 200
    assert (row.json()["duty"], row.json()["aircraft_type"]) == ("stored", "A321")
    assert row.json() == client.get(address).json()
    assert client.get("/api/v1/attention/").json()["count"] == 0
    assert Change.objects.get(topic="tail").state["duty"] == "stored"
    [entry] = AuditEntry.objects.all()
    assert entry.changes == {"duty": ["active", "stored"], "aircraft_type": ["", "A321"]}
    assert client.patch(address, {"duty": "stored"}).status_code == 200
    assert client.patch(address, {"aircraft_type": "A320"}).json()["duty"] == "stored"
    assert Change.objects.get(topic="tail").state["aircraft_type"] == "A320"
    assert AuditEntry.objects.count() == 2
    assert client.patch(address, {"duty": "lost"}).status_code == 400
    assert Tail.objects.get(pk=failed.tail_id).aircraft_type == "A320"
