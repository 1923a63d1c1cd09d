"""Second factors in the database are encrypted, so that a dump is not enough to sign in; keys can be rotated."""

from __future__ import annotations

import importlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from django.apps import apps
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, override_settings

from ifeportal.accounts.encryption import UNREADABLE
from ifeportal.conf.environment import read_config
from ifeportal.models import AuditEntry, User
from tests.conftest import Cast
from tests.ifeportal.accounts.test_sign_in import SECRET, is_in, sign_in
from tests.support.production_environment import KEY, PRODUCTION

SEED = "5eed" * 20
NEW_KEY = KEY[::-1]
migration: Any = importlib.import_module("ifeportal.migrations.0006_encrypt_second_factors")
changed_key = override_settings(SECRET_KEY=NEW_KEY, SECRET_KEY_FALLBACKS=[KEY])


@pytest.fixture(autouse=True)
def known_key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    cache.clear()
    monkeypatch.setattr(totp, "yield_hotp_counters_from_time", lambda: iter([7]))
    monkeypatch.setattr(RecoveryCodes, "generate_seed", classmethod(lambda _: SEED))
    with override_settings(SECRET_KEY=KEY, SECRET_KEY_FALLBACKS=[]):
        yield


def app_code() -> str:
    return str(totp.format_hotp_value(totp.hotp_value(SECRET, 7)))


def recovery_codes() -> list[str]:
    """Return all ten codes, derived from the seed as in allauth."""
    codes: list[str] = RecoveryCodes(Authenticator(data={"seed": SEED, "used_mask": 0})).generate_codes()
    return codes


def dump() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT data FROM mfa_authenticator")
        return str(cursor.fetchall())


def in_clear(user: User) -> None:
    """Store the factors as earlier releases did; the first recovery code is used."""
    Authenticator.objects.create(user=user, type="totp", data={"secret": SECRET})
    Authenticator.objects.create(user=user, type="recovery_codes", data={"seed": SEED, "used_mask": 1})


def encrypted(user: User) -> None:
    totp.TOTP.activate(user, SECRET)
    RecoveryCodes.activate(user)


def lets_in(code: str) -> bool:
    client = Client()
    sign_in(client)
    client.post("/login/second-factor/", {"code": code})
    return is_in(client)


def migrate(change: Callable[[Any, Any], None]) -> None:
    change(apps, SimpleNamespace(connection=connection))


def assert_nothing_in_clear() -> None:
    found = dump()
    assert found.count("fernet:") == 2
    assert not [secret for secret in (SECRET, SEED, *recovery_codes()) if secret in found]


def test_a_dump_holds_no_secret_and_both_ways_in_work(cast: Cast) -> None:
    encrypted(cast.alice)
    assert_nothing_in_clear()
    assert lets_in(app_code())
    assert lets_in(recovery_codes()[0])


def test_a_row_in_clear_still_lets_its_user_in(cast: Cast) -> None:
    in_clear(cast.alice)
    assert lets_in(app_code())
    assert not lets_in(recovery_codes()[0])
    assert lets_in(recovery_codes()[1])


def test_the_migration_encrypts_what_is_in_clear_and_can_be_undone(cast: Cast) -> None:
    in_clear(cast.alice)
    Authenticator.objects.create(user=cast.bob, type="webauthn", data={"name": "key", "credential": {}})
    migrate(migration.encrypt_all)
    assert_nothing_in_clear()
    once = dump()
    migrate(migration.encrypt_all)
    assert dump() == once
    assert lets_in(app_code())
    assert not lets_in(recovery_codes()[0])
    assert lets_in(recovery_codes()[1])
    migrate(migration.decrypt_all)
    stored = [row.data for row in Authenticator.objects.order_by("pk")]
    assert stored == [{"secret": SECRET}, {"seed": SEED, "used_mask": 3}, {"name": "key", "credential": {}}]


def test_codes_taken_over_from_elsewhere_are_encrypted_too(cast: Cast) -> None:
    Authenticator.objects.create(user=cast.alice, type="totp", data={"secret": SECRET})
    Authenticator.objects.create(
        user=cast.alice, type="recovery_codes", data={"migrated_codes": ["12345678", "87654321"]}
    )
    migrate(migration.encrypt_all)
    assert "12345678" not in dump()
    assert lets_in("87654321")
    assert not lets_in("87654321")


def test_a_rotated_key_with_a_fallback_accepts_every_user(cast: Cast) -> None:
    encrypted(cast.alice)
    with changed_key:
        assert lets_in(app_code())
        assert lets_in(recovery_codes()[0])


def test_reencrypted_values_need_no_fallback(cast: Cast) -> None:
    encrypted(cast.alice)
    in_clear(cast.bob)
    with changed_key:
        assert call_command("encrypt_second_factors") == "Re-encrypted: 4 of 4."
        assert call_command("encrypt_second_factors") == "Re-encrypted: 0 of 4."
    entries = AuditEntry.objects.values_list("action", "target", "who", "via")
    assert Counter(entries) == {
        ("user.second-factor.encrypted", "alice", "", "command"): 2,
        ("user.second-factor.encrypted", "bob", "", "command"): 2,
    }
    with override_settings(SECRET_KEY=NEW_KEY):
        assert lets_in(app_code())
        assert lets_in(recovery_codes()[0])


def test_a_missing_key_rejects_every_code_and_reports_the_reason(cast: Cast, caplog: pytest.LogCaptureFixture) -> None:
    encrypted(cast.alice)
    with override_settings(SECRET_KEY=NEW_KEY), caplog.at_level(logging.ERROR):
        for code in (app_code(), recovery_codes()[0], str(totp.format_hotp_value(totp.hotp_value("", 7)))):
            assert not lets_in(code)
        client = Client()
        sign_in(client)
        assert UNREADABLE in client.post("/login/second-factor/", {"code": app_code()}).content.decode()
        with pytest.raises(CommandError, match="No key decrypts the second factors of: alice"):
            call_command("encrypt_second_factors")
    assert "is its key missing in SECRET_KEY_FALLBACKS?" in caplog.text
    assert lets_in(app_code())


def test_earlier_keys_are_given_in_the_environment() -> None:
    assert read_config(PRODUCTION | {"SECRET_KEY_FALLBACKS": f"{KEY}, {NEW_KEY}"}).secret_key_fallbacks == (
        KEY,
        NEW_KEY,
    )
