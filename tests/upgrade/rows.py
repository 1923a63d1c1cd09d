"""Rows of the database fixture in every table that polling does not write: see `tests.upgrade.make_database`.

Imported by a process with Django set up.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from axes.models import AccessAttempt, AccessAttemptExpiration, AccessFailureLog, AccessLog
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django_q.models import Schedule, Task
from django_q.tasks import async_task
from knox.crypto import hash_token
from knox.settings import CONSTANTS

from campaigns.models import OPERATION_KINDS, Draft, DraftItem, DraftState
from fleet.models import Acknowledgement, Load, Tail
from ifeportal.models import Airline, AuditEntry, Job, Logo, Membership, Token, User
from ifeportal.operations.models import Operation, OperationState
from tests.upgrade.ground import NOON, PASSWORD, SESSION, TOKEN, TOTP_SECRET

LONG_AFTER = datetime(2099, 1, 1, tzinfo=UTC)
WAKE = "ifeportal.jobs.runner.run_due_jobs"  # where portals of this commit read the queue


def later(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def add_rows() -> None:
    people = add_people()
    add_what_is_kept_of_signing_in(people)
    add_what_people_did(people)
    add_drafts()
    add_jobs()


def add_people() -> dict[str, Any]:
    """Alice, Otto and Mona belong to ACME: viewer, operator, manager. Olga is staff with few permissions.

    Ada is a superuser with an authenticator app.
    """
    acme = Airline.objects.get(name="ACME")
    people = {
        name: User.objects.create_user(name, f"{name}@example.org", PASSWORD, is_staff=name == "olga")
        for name in ("alice", "otto", "mona", "olga")
    }
    people["ada"] = User.objects.create_superuser("ada", "ada@example.org", PASSWORD)
    for name, role in (("alice", "viewer"), ("otto", "operator"), ("mona", "manager")):
        Membership.objects.create(user=people[name], airline=acme, role=role)
    planners = Group.objects.create(name="planners")
    planners.permissions.set(Permission.objects.filter(codename__in=["view_draft", "change_draft", "view_draftitem"]))
    people["olga"].groups.add(planners)
    people["olga"].user_permissions.set(Permission.objects.filter(codename__in=["view_anomaly", "view_job"]))
    TOTP.activate(people["ada"], TOTP_SECRET)
    RecoveryCodes.activate(people["ada"])
    return people


def add_what_is_kept_of_signing_in(people: dict[str, Any]) -> None:
    """Add tokens, sessions, addresses, attempts, and an account of a single sign-on service."""
    alice, mona, olga = people["alice"], people["mona"], people["olga"]
    Token.objects.create(
        user=mona,
        name="reports",
        digest=hash_token(TOKEN),
        token_key=TOKEN[: CONSTANTS.TOKEN_KEY_LENGTH],
        expiry=LONG_AFTER,
        airline=Airline.objects.get(name="ACME"),
        used_at=later(5),
    )
    signed_in = {
        SESSION_KEY: str(alice.pk),
        BACKEND_SESSION_KEY: "allauth.account.auth_backends.AuthenticationBackend",
        HASH_SESSION_KEY: alice.get_session_auth_hash(),
    }
    Session.objects.create(session_key=SESSION, session_data=SessionStore().encode(signed_in), expire_date=LONG_AFTER)
    UserSession.objects.create(user=alice, session_key=SESSION, ip="192.0.2.1", user_agent="a browser")
    address = EmailAddress.objects.create(user=alice, email="alice@example.org", verified=True, primary=True)
    EmailConfirmation.objects.create(email_address=address, key="confirmation", sent=later(1))
    app = SocialApp.objects.create(provider="openid_connect", provider_id="sso", name="SSO", client_id="portal")
    account = SocialAccount.objects.create(user=olga, provider="sso", uid="olga-1", extra_data={"sub": "olga-1"})
    SocialToken.objects.create(app=app, account=account, token="of olga")
    place = {"user_agent": "a browser", "ip_address": "192.0.2.9", "username": "eve", "path_info": "/login/"}
    attempt = AccessAttempt.objects.create(get_data="", post_data="", failures_since_start=1, **place)
    AccessAttemptExpiration.objects.create(access_attempt=attempt, expires_at=later(15))
    AccessFailureLog.objects.create(**place)
    AccessLog.objects.create(**place)


def add_what_people_did(people: dict[str, Any]) -> None:
    """Add an airline's logo and settings, a stored tail, acknowledgements, and entries of the two audit logs."""
    acme, otto = Airline.objects.get(name="ACME"), people["otto"]
    acme.title, acme.contact, acme.colour, acme.archive_after_days = "Acme Air", "Otto, 555-0100", "#1a2b3c", 30
    acme.save()
    Logo.objects.create(airline=acme, png=bytes(range(256)))
    stored = Tail.objects.create(airline=acme, name="N9", duty="stored", aircraft_type="A320")
    done = Load.objects.get(tail__name="N2", campaign__name="2026-12")
    Load.objects.create(
        tail=stored,
        campaign=done.campaign,
        status="complete",
        bytes_done=done.bytes_total or 0,
        bytes_total=done.bytes_total,
        items_total=3,
        items_done=3,
        proof="hash",
        archived_at=later(25),
        finished_at=later(18),
    )
    failed = Load.objects.get(tail__name="N3")
    Acknowledgement.objects.create(
        load=failed, state="failed", error_code="BAD_SIGNATURE", note="asked them", user=otto, who="otto", at=later(22)
    )
    AuditEntry.objects.create(
        at=later(23),
        user=otto,
        who="otto",
        airline=acme,
        whose="ACME",
        action="tail.duty",
        target="N9",
        changes={"duty": ["active", "stored"]},
        via="page",
        address="192.0.2.1",
    )
    LogEntry.objects.create(
        user=people["ada"],
        content_type=ContentType.objects.get_for_model(Airline),
        object_id=str(acme.pk),
        object_repr="ACME",
        action_flag=CHANGE,
        change_message="[]",
    )


def add_drafts() -> None:
    """Add a draft in each state, and items of one: hashed, being hashed, failed, deleted, and excluded."""
    acme = Airline.objects.get(name="ACME")
    drafts = {
        state: Draft.objects.create(
            airline=acme,
            name=f"draft-{state}",
            title=f"Draft, {state}",
            exhibition_starts="2027-01-01",
            state=state,
            operation=add_operation(acme, state),
            scanned_at=later(31),
            version=2,
            manifest_version=2,
            manifest_etag="0" * 32,
            notices=["An object was replaced."],
        )
        for state in DraftState.values
    }
    there: dict[str, Any] = {"size": 1000, "etag": "e" * 32, "modified": later(3)}
    items: dict[str, dict[str, Any]] = {
        "hashed": {**there, "included": True, "sha256": "a" * 64, "sha256_etag": "e" * 32, "in_manifest": True},
        "hashing": {**there, "included": True, "hash_pending": True, "hashed_bytes": 512, "hash_state": "b" * 224},
        "failing": {
            **there,
            "included": True,
            "hash_pending": True,
            "error_code": "NETWORK",
            "error": "again",
        },
        "gone": {"included": True, "error_text": "It does not lie in the bucket."},
        "bad name ": {**there, "name_error": "A name must not end with white space."},
    }
    for position, (name, fields) in enumerate(items.items()):
        DraftItem.objects.create(draft=drafts["hashing"], name=name, title=name.title(), position=position, **fields)


def add_operation(airline: Airline, state: str) -> Operation | None:
    """Add the operation of a draft in this state; None for a draft that has no work open and none that failed."""
    kinds: dict[str, str] = {**{str(busy): kind for busy, kind in OPERATION_KINDS.items()}, "failed": "hashing"}
    if state not in kinds:
        return None
    error: dict[str, Any] = {"error_code": "NETWORK", "error": "The store did not answer.", "finished_at": later(31)}
    return Operation.objects.create(
        kind=kinds[state],
        airline=airline,
        title=f"ACME/draft-{state}",
        state=OperationState.FAILED if state == "failed" else OperationState.QUEUED,
        **(error if state == "failed" else {}),
    )


def add_jobs() -> None:
    """Add jobs, one of them locked, and rows of django-q2: a waiting call, a failed one, a schedule."""
    for number, name in enumerate(("pacemaker", "discover", "poll:BETA", "write_exports", "archive_loads")):
        Job.objects.get_or_create(name=name, defaults={"due_at": later(60 + number), "succeeded_at": later(50)})
    Job.objects.filter(name="poll:BETA").update(
        holder="worker-1", fence=41, lease_until=later(61), failures=2, error="NETWORK: no answer"
    )
    async_task(WAKE, task_name="wake")
    Task.objects.create(id="f" * 32, name="wake", func=WAKE, started=NOON, stopped=later(1), success=False)
    Schedule.objects.create(name="none of ours", func="math.sqrt", args="4", next_run=LONG_AFTER)
