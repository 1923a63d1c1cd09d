"""Every URL that accepts writes is called, and each successful write leaves an entry in the audit log.

So does every command and every job that changes audited data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.management import call_command, get_commands
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from campaigns.models import Draft, DraftItem
from campaigns.uploads.models import Upload
from fleet.models import Acknowledgement, Load
from ifeportal.accounts.tokens import create_token
from ifeportal.exports.models import Export
from ifeportal.exports.responses import signed_address
from ifeportal.models import AuditEntry
from ifeportal.operations.models import Operation
from tests.conftest import PASSWORD
from tests.ifeportal.access.test_every_address import ADMIN, RULES, World, everything
from tests.ifeportal.access.test_every_address import shared_world as shared_world  # the fixtures
from tests.ifeportal.access.test_every_address import world as world

pytestmark = pytest.mark.both_databases

# Entries of sign-in, passwords, second factors and sessions are checked in test_sign_in.py.
OF_ACCOUNTS = ("account_", "mfa_", "openid_connect_", "socialaccount_", "usersessions_")


PAGES_OF_A_MODEL = ("changelist", "add", "change", "delete", "history")
OF_THE_SITE = (
    "index",
    "login",
    "logout",
    "jsi18n",
    "autocomplete",
    "app_list",
    "system",
    "",
    "password_change",
    "password_change_done",
)
READS = {"admin:campaigns_draft_progress"}


# The other commands need no entry: they read, serve, import from the buckets, or write no row.
AUDITED_COMMANDS = {"encrypt_second_factors", "reset_second_factor"}
OTHER_COMMANDS = {
    *("archive_loads", "check_store", "demo", "pacemaker", "poll_buckets", "publish_campaign", "qcluster"),
    *("sign_campaign", "sign_queue", "simulate_fleet", "tail_policy", "trust_keys"),
}
OTHER_JOBS = {
    *("archive_loads", "check_totals", "clear_sessions", "discover", "poll", "prune_feed"),
    *("purge_operations", "send_reset_links", "take_events", "thin_samples", "upload_cleanup"),
    "write_exports",  # the request of an export has an entry
}


@dataclass(frozen=True)
class Write:
    """A successful write: its action in the log, its user, its data, and the row that it requires."""

    entry: str
    user: str
    given: Callable[[World], dict[str, Any]]
    method: str = "post"
    row: Callable[[World], Any] | None = None


def token(world: World) -> int:
    made, _ = create_token(world.person("mona"), "old", days=1, airline=None, may_write=False)
    return int(made.pk)


def stalled(world: World) -> dict[str, Any]:
    Load.objects.filter(pk=world.acme.load.pk).update(stalled=True)
    return {"load": world.acme.load.pk, "word": "stalled", "state": "stalled", "note": "somebody drives there"}


def acknowledged(world: World) -> int:
    row = world.acme.acknowledgement
    Acknowledgement.objects.filter(pk=row.pk).update(state="stalled", at=timezone.now())
    return row.pk


def published(world: World) -> int:
    Draft.objects.filter(pk=world.acme.draft.pk).update(manifest_etag="0123")
    return world.acme.draft.pk


def ready(world: World) -> int:
    Draft.objects.filter(pk=world.acme.draft.pk).update(scanned_at=timezone.now(), faults=[], faulty_items=0)
    hashed = {"size": 1, "etag": "e", "sha256": "a" * 64, "sha256_etag": "e", "name_error": "", "hash_pending": False}
    DraftItem.objects.filter(draft=world.acme.draft.pk).update(included=True, **hashed)
    return world.acme.draft.pk


def offered(world: World) -> dict[str, Any]:
    request = RequestFactory().get("/airlines/ACME/audit/", {"export": "csv"})
    request.user = world.person("mona")
    return {"address": signed_address(request, "ACME audit.csv")}


def failed(world: World) -> dict[str, Any]:
    Operation.objects.filter(pk=world.acme.operation.pk).update(state="failed", can_retry=True)
    return {}


def announced(world: World) -> dict[str, Any]:
    return {"airline": "ACME", "name": "clip.mp4", "source_url": "https://files.example.org/clip.mp4"}


def failed_upload(world: World) -> UUID:
    Upload.objects.filter(pk=world.acme.upload.pk).update(status="failed")
    return world.acme.upload.operation.uuid


def from_url(world: World) -> dict[str, Any]:
    return {"source_url": "https://content.example/new.tgz", "destination": f"{world.acme.airline.name}/"}


def failed_on_its_way(world: World) -> dict[str, Any]:
    Operation.objects.filter(pk=world.acme.upload.pk).update(state="failed", can_retry=True, kind="upload")
    return {}


def export(world: World) -> int:
    return Export.objects.create(user=world.person("mona"), path="/", name="ACME audit.csv").pk


THRESHOLDS = {"stalled_after_minutes": 20, "silent_after_hours": 12, "risk_before_hours": 72}
WRITES = {
    "tokens": Write("token.made", "mona", lambda world: {"name": "x", "access": "read", "days": 9}),
    "token-revoke": Write("token.revoked", "mona", lambda world: {}, row=token),
    "exports": Write("export.requested", "mona", offered),
    "export-delete": Write("export.deleted", "mona", lambda world: {}, row=export),
    "airline-settings": Write("airline.settings", "otto", lambda world: THRESHOLDS),
    "tail-duty": Write("tail.duty", "otto", lambda world: {"duty": "stored", "aircraft_type": "A321neo"}),
    "operation-cancel": Write("operation.chore.cancel", "otto", lambda world: {}),
    "operation-retry": Write("operation.chore.retry", "otto", failed),
    "api-operations-cancel": Write("operation.chore.cancel", "otto", lambda world: {}),
    "api-operations-retry": Write("operation.chore.retry", "otto", failed),
    "upload-from-url": Write("upload.created", "mona", from_url),
    "upload-delete": Write("upload.deleted", "mona", lambda world: {}, row=failed_upload),
    "upload-retry": Write("operation.upload.retry", "mona", failed_on_its_way),
    "library-item": Write("library.changed", "mona", lambda world: {"title": "New"}),
    "library-delete": Write("library.deleted", "mona", lambda world: {}),
    "library-pick": Write(
        "operation.library_copy.requested", "mona", lambda world: {"item": world.acme.library_item.pk}
    ),
    "api-library-detail": Write("library.changed", "mona", lambda world: {"title": "New"}, "patch"),
    "acknowledgement": Write("load.acknowledged", "otto", stalled),
    "api-tails-detail": Write("tail.duty", "otto", lambda world: {"duty": "stored"}, "patch"),
    "api-acknowledgements-list": Write("load.acknowledged", "otto", stalled),
    "api-acknowledgements-detail": Write(
        "load.acknowledgement withdrawn", "otto", lambda world: {}, "delete", acknowledged
    ),
    "api-uploads-list": Write("upload.created", "mona", announced),
    "api-uploads-detail": Write("upload.deleted", "mona", lambda world: {}, "delete", failed_upload),
    "admin:campaigns_draft_publish": Write("draft.publish", "mona", lambda world: {}, row=ready),
    "admin:campaigns_draft_withdraw": Write("draft.withdraw", "mona", lambda world: {}, row=published),
}


def test_every_address_that_takes_a_write_is_tried_here() -> None:
    writing = {name for name, rule in RULES.items() if rule.writes or rule.empty}
    besides = {name for name in ADMIN if name.rsplit("_", 1)[-1] not in PAGES_OF_A_MODEL}
    besides -= {f"admin:{name}" for name in OF_THE_SITE} | {"admin:auth_user_password_change"} | READS
    ours = {name for name in writing if not name.startswith(OF_ACCOUNTS)}
    assert ours | besides == set(WRITES)


@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_succeeds_leaves_an_entry(world: World, name: str) -> None:
    write = WRITES[name]
    row, given = write.row(world) if write.row else None, write.given(world)
    arguments = [row] if row is not None else RULES[name].arguments(world.acme)
    client = Client(REMOTE_ADDR="192.0.2.7")
    client.force_login(world.person(write.user))
    client.post("/account/confirm/", {"password": PASSWORD})
    before = everything()
    kind = {"content_type": "application/json"} if name.startswith("api-") else {}
    answer = getattr(client, write.method)(reverse(name, args=arguments), given, **kind)
    assert answer.status_code < 400, answer.content[:500]
    after = everything()
    assert {label for label in after if after[label] != before[label]} > {"ifeportal.AuditEntry"}
    # A request for an operation has an entry of its own besides that of what it changes.
    entry = AuditEntry.objects.exclude(pk__in=[world.acme.entry.pk, world.beta.entry.pk]).get(action=write.entry)
    assert (entry.who, entry.address) == (write.user, "192.0.2.7")
    assert entry.airline in (world.acme.airline, None)


def test_every_command_and_job_is_tried_or_known_to_need_no_entry() -> None:
    ours = {name for name, app in get_commands().items() if app in ("campaigns", "fleet", "ifeportal")}
    assert ours == AUDITED_COMMANDS | OTHER_COMMANDS
    scheduled = {*settings.JOBS, *settings.JOBS_PER_AIRLINE, "take_events"}  # take_events only with a queue
    assert scheduled == OTHER_JOBS


@pytest.mark.parametrize(
    ("command", "arguments", "action"),
    [
        ("encrypt_second_factors", [], "user.second-factor.encrypted"),
        ("reset_second_factor", ["alice"], "user.second-factor.reset"),
    ],
)
def test_a_command_that_succeeds_leaves_an_entry(world: World, command: str, arguments: list[str], action: str) -> None:
    Authenticator.objects.create(user=world.cast.alice, type="totp", data={"secret": "in clear"})
    call_command(command, *arguments)
    entry = AuditEntry.objects.exclude(pk__in=[world.acme.entry.pk, world.beta.entry.pk]).get()
    assert (entry.action, entry.target, entry.who, entry.via) == (action, "alice", "", "command")
    assert (entry.user, entry.address, entry.changes) == (None, None, {})
