"""Password reset: requests alike for known and unknown addresses, links sent by a job and stored nowhere."""

from __future__ import annotations

import re
from datetime import timedelta
from smtplib import SMTPRecipientsRefused, SMTPServerDisconnected
from typing import Any

import pytest
from django.apps import apps
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ifeportal.accounts.jobs import send_reset_links
from ifeportal.accounts.models import PasswordResetRequest
from ifeportal.accounts.pages.forms import RESET_LINKS
from ifeportal.accounts.password_reset import RESET_JOB
from ifeportal.models import Job, User
from tests.conftest import Cast
from tests.ifeportal.accounts.test_sign_in import give_an_app, is_in, sign_in

pytestmark = pytest.mark.both_databases
KNOWN = "alice@example.org"


class MailServer(BaseEmailBackend):
    """Refuses e-mails with `errors`, the first one first; records how many it was asked to send."""

    errors: list[Exception] = []
    asked = 0

    def send_messages(self, messages: Any) -> int:
        MailServer.asked += 1
        if MailServer.errors:
            raise MailServer.errors.pop(0)
        return 1


MAIL_SERVER = f"{__name__}.MailServer"


@pytest.fixture(autouse=True)
def alice(cast: Cast) -> User:
    MailServer.errors, MailServer.asked = [], 0
    User.objects.filter(pk=cast.alice.pk).update(email=KNOWN)
    return cast.alice


def ask(address: str) -> Any:
    return Client().post("/login/forgotten/", {"email": address})


def run_job() -> None:
    """Run the job, due now."""
    PasswordResetRequest.objects.update(next_try_at=None)
    Job.objects.filter(name=RESET_JOB).update(due_at=timezone.now())
    send_reset_links()


def every_text() -> str:
    """Return all rows of all tables as text."""
    return str([list(model._default_manager.values()) for model in apps.get_models()])


def test_a_known_and_an_unknown_address_take_the_same_steps() -> None:
    steps = []
    for address in (KNOWN, "eve@example.org"):
        ask(f"first-{address}")  # the counts of the network exist
        with override_settings(EMAIL_BACKEND=MAIL_SERVER), CaptureQueriesContext(connection) as queries:
            answer = ask(address)
        steps.append((answer.status_code, answer["Location"], len(queries), MailServer.asked))
    assert steps[0] == steps[1]
    assert steps[0][-1] == 0


def test_the_link_is_in_the_mail_and_in_no_table() -> None:
    ask(KNOWN)
    assert KNOWN in every_text()
    run_job()
    assert "It works once, within 3 hours." in mail.outbox[0].body
    link = re.search(r"/login/forgotten/(\S+)/", str(mail.outbox[0].body))
    assert link
    assert link[1].split("-", 1)[1] not in every_text()
    assert not PasswordResetRequest.objects.exists()
    assert Client().get(link[0]).status_code == 302


def test_while_the_mail_server_is_away_it_is_tried_again_so_often(caplog: pytest.LogCaptureFixture) -> None:
    ask(KNOWN)
    limit = PasswordResetRequest.retry_policy.max_attempts
    with override_settings(EMAIL_BACKEND=MAIL_SERVER):
        MailServer.errors = [SMTPRecipientsRefused({KNOWN: (550, b"no")}), *(OSError("away") for _ in range(9))]
        for _ in range(limit):
            assert PasswordResetRequest.objects.exists()
            run_job()
        assert not PasswordResetRequest.objects.exists()
        run_job()
    assert MailServer.asked == limit
    assert KNOWN not in caplog.text
    assert "did not accept the e-mail: SMTPRecipientsRefused" in caplog.text
    assert not Job.objects.filter(error__contains="@").exists()


def test_a_recovered_mail_server_receives_the_mail() -> None:
    ask(KNOWN)
    with override_settings(EMAIL_BACKEND=MAIL_SERVER):
        MailServer.errors = [SMTPServerDisconnected("away")]
        run_job()
        row = PasswordResetRequest.objects.get()
        assert row.next_try_at
        assert row.next_try_at > timezone.now()
        run_job()
    assert MailServer.asked == 2
    assert not PasswordResetRequest.objects.exists()


def test_a_request_that_waited_too_long_is_dropped() -> None:
    ask(KNOWN)
    PasswordResetRequest.objects.update(requested_at=timezone.now() - timedelta(hours=2))
    run_job()
    assert mail.outbox == []
    assert not PasswordResetRequest.objects.exists()


@pytest.mark.parametrize("address", [KNOWN, "eve@example.org"])
def test_links_are_sent_to_an_address_only_so_often(address: str) -> None:
    answers = [ask(address.upper() if n % 2 else address).status_code for n in range(RESET_LINKS.count + 1)]
    assert answers == [302] * RESET_LINKS.count + [429]
    assert PasswordResetRequest.objects.count() == RESET_LINKS.count


def test_the_admin_shows_no_request(cast: Cast, client: Client) -> None:
    client.force_login(cast.ada)
    assert client.get("/admin/accounts/passwordresetrequest/").status_code == 404
    ask(KNOWN)
    run_job()
    assert KNOWN not in client.get("/admin/ifeportal/job/").content.decode()


def test_a_user_gets_a_link_only_if_active_and_with_a_password(alice: User) -> None:
    for change in ({"is_active": False}, {"password": "!"}):
        User.objects.filter(pk=alice.pk).update(**{"is_active": True} | change)
        ask(KNOWN)
        run_job()
    assert mail.outbox == []


def test_a_reset_password_does_not_replace_the_second_factor(alice: User) -> None:
    give_an_app(alice)
    ask(KNOWN)
    run_job()
    link = re.search(r"/login/forgotten/\S+/", str(mail.outbox[0].body))
    assert link
    client = Client()
    form = client.get(link[0])["Location"]
    new = {"password1": "another long sentence", "password2": "another long sentence"}
    assert client.post(form, new).status_code == 302
    assert not is_in(client)
    assert sign_in(client, password="another long sentence")["Location"] == "/login/second-factor/"
    assert not is_in(client)
