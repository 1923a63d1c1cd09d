"""Password hashing: parameters, concurrency, and the response to a request that times out waiting."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.hashers import (
    Argon2PasswordHasher,
    PBKDF2PasswordHasher,
    check_password,
    identify_hasher,
    make_password,
)
from django.core.cache import cache
from django.test import Client, RequestFactory, override_settings

from ifeportal.accounts import hashers as accounts_hashers
from ifeportal.accounts.hashers import Hashing, TooManyPasswords
from ifeportal.conf import environment
from ifeportal.conf.authentication import signin_settings
from ifeportal.models import User
from ifeportal.web.errors import too_many_passwords
from tests.conftest import PASSWORD, Cast
from tests.ifeportal.accounts.test_sign_in import is_in, sign_in
from tests.support.portal_system import wait_until

LONG = 60.0  # seconds


@pytest.fixture(autouse=True)
def real_hashers() -> Iterator[None]:
    cache.clear()
    hashers = signin_settings(environment.Config(), https=True)["PASSWORD_HASHERS"]
    with override_settings(PASSWORD_HASHERS=hashers):
        yield


@contextmanager
def busy(hashing: Hashing, inside: int, waiting: int = 0) -> Iterator[list[Future[bool]]]:
    """Run `inside` calls that do not end before this context, with `waiting` calls queued behind them."""
    end, begun = threading.Event(), threading.Semaphore(0)

    def call() -> bool:
        begun.release()
        return end.wait(LONG)

    with ThreadPoolExecutor(inside + waiting) as threads:
        try:
            calls = [threads.submit(hashing.run, call) for _ in range(inside + waiting)]
            assert all(begun.acquire(timeout=LONG) for _ in range(inside))
            wait_until(lambda: hashing._threads._work_queue.qsize() == waiting)
            yield calls
        finally:
            end.set()


def test_new_hashes_have_the_parameters_owasp_names() -> None:
    assert "$argon2id$v=19$m=19456,t=2,p=1$" in make_password(PASSWORD)


@pytest.mark.parametrize("hasher", [Argon2PasswordHasher(), PBKDF2PasswordHasher()], ids=["argon2", "pbkdf2"])
def test_hashes_of_earlier_releases_work_and_are_replaced_at_sign_in(cast: Cast, client: Client, hasher: Any) -> None:
    old = hasher.encode(PASSWORD, "s" * 22)
    User.objects.filter(pk=cast.alice.pk).update(password=old)
    assert sign_in(client, password="wrong").status_code == 200
    cast.alice.refresh_from_db()
    assert cast.alice.password == old
    assert sign_in(client).status_code == 302
    cast.alice.refresh_from_db()
    assert "m=19456,t=2,p=1" in cast.alice.password
    assert sign_in(Client()).status_code == 302


def test_every_hasher_there_is_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {name: make_password(PASSWORD, hasher=name) for name in ("argon2", "pbkdf2_sha256")}
    full = Hashing(1, 0, LONG)
    monkeypatch.setattr(accounts_hashers, "hashing", full)
    with busy(full, 1):
        for name, encoded in made.items():
            with pytest.raises(TooManyPasswords):
                make_password(PASSWORD, hasher=name)
            with pytest.raises(TooManyPasswords):
                check_password(PASSWORD, encoded)
        with pytest.raises(TooManyPasswords):
            check_password(PASSWORD, "!unusable")
    assert all(check_password(PASSWORD, encoded) for encoded in made.values())


def test_the_numbers_of_running_and_waiting_hashes_are_limited() -> None:
    hashing = Hashing(2, 1, LONG)
    with busy(hashing, 2, waiting=1) as calls:
        with pytest.raises(TooManyPasswords):
            hashing.run(bool, True)
        assert not any(call.done() for call in calls)
    assert [call.result() for call in calls] == [True] * 3
    assert hashing.run(bool, True)


def test_the_wait_is_bounded() -> None:
    hashing = Hashing(1, 5, 0.05)
    with busy(hashing, 1) as calls:
        with pytest.raises(TooManyPasswords):
            hashing.run(bool, True)
        assert not calls[0].done()  # a running call is not cancelled
    assert calls[0].result()
    assert hashing.run(bool, True)


def test_a_call_that_fails_gives_its_place_back() -> None:
    hashing = Hashing(1, 0, LONG)
    for _ in range(3):
        with pytest.raises(ValueError, match="invalid literal"):
            hashing.run(int, "x")


def test_a_forked_process_hashes_with_threads_of_its_own() -> None:
    encoded = make_password(PASSWORD)
    with multiprocessing.get_context("fork").Pool(1) as children:
        assert children.apply_async(check_password, (PASSWORD, encoded)).get(LONG)


def test_a_request_without_a_turn_gets_retry_after(cast: Cast, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Hashing(1, 0, LONG)
    with monkeypatch.context() as patch, busy(full, 1):
        patch.setattr(accounts_hashers, "hashing", full)
        for name in ("alice", "nobody"):
            answer = sign_in(client, name)
            assert answer.status_code == 503
            assert answer["Retry-After"] == "5"
            assert "no-store" in answer["Cache-Control"]
            assert "password was not checked" in answer.content.decode()
            assert "default-src" in answer["Content-Security-Policy"]
        client.force_login(cast.ada)
        new = {"username": "eve", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
        inline = {f"memberships-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")}
        assert client.post("/admin/ifeportal/user/add/", new | inline).status_code == 503
    assert not User.objects.filter(username="eve").exists()
    assert not AccessAttempt.objects.exists()
    client.logout()
    cast.alice.set_password(PASSWORD)
    cast.alice.save()
    assert sign_in(client).status_code == 302
    assert is_in(client)


def test_a_program_gets_a_problem(rf: RequestFactory) -> None:
    answer = too_many_passwords(rf.post("/api/v1/airlines/"))
    assert (answer.status_code, answer["Content-Type"]) == (503, "application/problem+json")
    assert answer["Retry-After"] == "5"


def test_the_hashers_are_ours() -> None:
    assert type(identify_hasher(make_password(PASSWORD))) is accounts_hashers.Argon2
