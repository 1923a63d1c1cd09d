"""Hostile names, errors and notes are shown as text on every page, and no page has inline scripts or styles."""

from __future__ import annotations

from html.parser import HTMLParser

from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from campaigns.models import Campaign, ContentItem, Draft, DraftItem
from fleet.choices import Inconsistency, Status
from fleet.models import Acknowledgement, Anomaly, Event, Load, Tail, Transfer
from ifeportal.models import Airline, AuditEntry, Job, User
from ifeportal.operations.models import Operation
from tests.ifeportal.access.test_every_address import ADMIN, ORDINARY, RULES, World, admin_address, shared_world, world
from tests.support.populated_airlines import PopulatedAirline

__all__ = ["shared_world", "world"]  # the fixtures

TAG = "<img src=x onerror=1>"
HOSTILE = f"\"'>{TAG}"
CODE = HOSTILE[:20]
SHOWN = ("index", "_changelist", "_change", "_progress", "_withdraw")  # admin pages


class Inline(HTMLParser):
    """Collects inline scripts and styles, which our content security policy blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        script = tag == "script" and "src" not in given and given.get("type") != "application/json"
        if script or tag == "style" or (given.get("href") or "").strip().lower().startswith("javascript"):
            self.found.append(str(self.get_starttag_text()))
        self.found += [name for name in given if name == "style" or name.startswith("on")]


def inline_parts(page: str) -> list[str]:
    reader = Inline()
    reader.feed(page)
    return reader.found


def corrupt(its: PopulatedAirline) -> None:
    """Set hostile names and texts on all objects of the airline."""
    name = HOSTILE
    Airline.objects.filter(pk=its.airline.pk).update(name=name, title=name, contact=name)
    texts = {"title": name, "manifest_problem": name}
    Campaign.objects.filter(pk=its.campaign.pk).update(name=name, **texts)
    ContentItem.objects.filter(pk=its.item.pk).update(name=name, title=name, kind=CODE)
    loader = {"loader_version": name, "loader_state": CODE, "loader_reason": name}
    stores = [{"path": name, "total": 2, "free": 1}]
    Tail.objects.filter(pk=its.tail.pk).update(name=name, aircraft_type=name, stores=stores, **loader)
    fault = {"status": Status.FAILED, "error": name, "error_code": CODE}
    flags = {"at_risk": True, "contradiction": Inconsistency.OVERSIZED, "error_etag": "e"}
    Load.objects.filter(pk=its.load.pk).update(error_content=name, **fault, **flags)
    Transfer.objects.filter(pk=its.transfer.pk).update(content=name, **fault)
    Event.objects.filter(pk=its.event.pk).update(content=name, text=name, error_code=CODE)
    acknowledged = {"state": "failed", "error_code": CODE}
    Acknowledgement.objects.filter(pk=its.acknowledgement.pk).update(note=name, who=name, **acknowledged)
    Anomaly.objects.filter(pk=its.anomaly.pk).update(key=f"{name}/{name}/{name}", detail=name, problem=CODE)
    changes = {name: [name, name]}
    AuditEntry.objects.filter(pk=its.entry.pk).update(target=name, action=name, who=name, changes=changes)
    wrong = {"error": name, "error_code": CODE, "advice": name}
    Operation.objects.filter(airline=its.airline).update(title=name, stage=name[:40], waiting_for=name, **wrong)
    Draft.objects.filter(pk=its.draft.pk).update(name=name, title=name, faults=[name])
    DraftItem.objects.filter(pk=its.draft_item.pk).update(name=name, title=name, name_error=name, error_text=name)
    for row in (its.airline, its.campaign, its.tail, its.load, its.draft):
        row.refresh_from_db()


def test_on_every_page_of_portal_and_admin(world: World) -> None:
    corrupt(world.acme)
    Job.objects.create(name=f"poll:{HOSTILE}", due_at=timezone.now(), error=HOSTILE, failures=1, holder=HOSTILE)
    User.objects.filter(pk=world.cast.ada.pk).update(first_name=HOSTILE, username=HOSTILE)
    paths = [reverse(name, args=RULES[name].arguments(world.acme)) for name in ORDINARY if name != "account_logout"]
    paths += [admin_address(name, world) for name in ADMIN if name.endswith(SHOWN)]
    client, shown = world.client("ada"), 0
    for path in paths:
        cache.clear()  # throttle counts
        answer = client.get(path, {"q": HOSTILE, "kind": HOSTILE, "next": HOSTILE, "acknowledged": "1"})
        assert answer.status_code < 500 or path == "/readyz", path
        page = answer.content.decode(errors="replace")
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            assert TAG not in page, path
            assert not inline_parts(page), path
            shown += "img src=x" in page
    assert shown > 30
