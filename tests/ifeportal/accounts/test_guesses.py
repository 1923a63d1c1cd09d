"""Guesses are counted in the database before they are checked: at once, over many networks, and without Redis."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from allauth.account.auth_backends import AuthenticationBackend
from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from allauth.mfa.webauthn.internal import auth as webauthn
from axes.models import AccessAttempt
from django.core.cache import cache
from django.db import connection
from django.db.models import F
from django.test import Client, override_settings
from django.utils import timezone

from ifeportal.accounts.limits import attempts, devices, lockout
from ifeportal.accounts.limits.attempts import Limit, take
from ifeportal.accounts.limits.throttles import SIGN_INS
from ifeportal.accounts.models import AttemptCount
from ifeportal.accounts.pages.codes import CODES
from ifeportal.conf.authentication import COOL_OFF, FAILURE_LIMIT
from ifeportal.embedded.processes import free_port
from ifeportal.models import User
from tests.conftest import PASSWORD, Cast
from tests.ifeportal.accounts.test_passkeys import credential
from tests.ifeportal.accounts.test_sign_in import code as code  # the fixture
from tests.ifeportal.accounts.test_sign_in import give_an_app, is_in, sign_in
from tests.support.live_sockets import PATIENCE

pytestmark = pytest.mark.both_databases
AT_ONCE = 12
CODE_OF_STEP_10 = str(totp.format_hotp_value(totp.hotp_value("JBSWY3DPEHPK3PXP", 10)))
LIMIT = Limit("test", 5, 60)


@pytest.fixture(autouse=True)
def no_cached_codes() -> None:
    cache.clear()


@contextmanager
def in_threads(count: int) -> Iterator[Callable[[Callable[[int], Any]], list[Any]]]:
    """Yield a function that calls `work(0)` to `work(count - 1)` at the same time and returns the results."""

    def run(work: Callable[[int], Any]) -> list[Any]:
        def call(number: int) -> Any:
            try:
                return work(number)
            finally:
                connection.close()

        return list(threads.map(call, range(count)))

    with ThreadPoolExecutor(count) as threads:
        yield run


# The counter.


@pytest.mark.django_db(transaction=True)
def test_of_any_number_of_attempts_at_once_only_the_limit_is_allowed() -> None:
    with in_threads(AT_ONCE) as run:
        assert sum(run(lambda number: take(LIMIT, "alice"))) == LIMIT.count
    assert not take(LIMIT, "alice")
    assert take(LIMIT, "bob")


def test_an_attempt_that_is_given_back_leaves_room_for_another(db: None) -> None:
    assert [take(LIMIT, "alice") for _ in range(6)] == [True] * 5 + [False]
    attempts.give_back(LIMIT, "alice")
    assert [take(LIMIT, "alice") for _ in range(2)] == [True, False]
    attempts.clear(LIMIT, "alice")
    attempts.give_back(LIMIT, "alice")
    assert [take(LIMIT, "alice") for _ in range(6)] == [True] * 5 + [False]


@pytest.mark.parametrize("moved", [timedelta(seconds=-61), timedelta(days=365)])
def test_a_period_is_over_at_its_end_and_if_a_wrong_clock_wrote_it(db: None, moved: timedelta) -> None:
    assert [take(LIMIT, "alice") for _ in range(6)] == [True] * 5 + [False]
    assert 0 < (attempts.next_at(LIMIT, "alice") - timezone.now()).total_seconds() <= 60
    AttemptCount.objects.update(ends_at=F("ends_at") + moved)
    assert take(LIMIT, "alice")


# Every secret that can be guessed.


@dataclass(frozen=True)
class Guess:
    """A way to guess: what prepares a client, what sends one wrong guess, and the function that looks at it."""

    prepare: Callable[[Client], Any]
    send: Callable[[Client, int], Any]
    looked_at_by: tuple[Any, str]


def with_app(client: Client) -> None:
    """Sign in up to the second factor."""
    assert sign_in(client)["Location"] == "/login/second-factor/"


def signed_in(client: Client) -> None:
    client.force_login(User.objects.get(username="alice"))


def wrong_key(client: Client, number: int) -> Any:
    user = User.objects.get(username="alice")
    return client.get(f"/login/forgotten/{user_pk_to_url_str(user)}-d3adb{number}-{'0' * 32}/")


BY_PASSWORD = (AuthenticationBackend, "_check_password")
PASSKEY = {"credential": credential()}
GUESSES = {
    "password": Guess(lambda client: None, lambda client, n: sign_in(client, password=f"{n}"), BY_PASSWORD),
    "password to confirm": Guess(
        signed_in, lambda client, n: client.post("/account/confirm/", {"password": f"{n}"}), BY_PASSWORD
    ),
    "current password": Guess(
        signed_in,
        lambda client, n: client.post(
            "/account/password/", {"oldpassword": f"{n}", "password1": "a new sentence", "password2": "a new sentence"}
        ),
        BY_PASSWORD,
    ),
    "code of the app": Guess(
        with_app,
        lambda client, n: client.post("/login/second-factor/", {"code": f"{n:06}"}),
        (totp.TOTP, "validate_code"),
    ),
    "recovery code": Guess(
        with_app,
        lambda client, n: client.post("/login/second-factor/", {"code": f"{n:08}"}),
        (RecoveryCodes, "validate_code"),
    ),
    "code to confirm": Guess(
        signed_in,
        lambda client, n: client.post("/account/confirm/code/", {"code": f"{n:06}"}),
        (totp.TOTP, "validate_code"),
    ),
    "passkey as a second factor": Guess(
        with_app, lambda client, n: client.post("/login/second-factor/", PASSKEY), (webauthn, "complete_authentication")
    ),
    "passkey to confirm": Guess(
        signed_in,
        lambda client, n: client.post("/account/confirm/passkey/", PASSKEY),
        (webauthn, "complete_authentication"),
    ),
    "reset key": Guess(lambda client: None, wrong_key, (type(default_token_generator), "check_token")),
}


class Looked:
    """Counts the guesses that are looked at. None is finished before every guess was looked at or refused."""

    def __init__(self, guesses: int) -> None:
        self.count = self._ended = 0
        self._guesses = guesses
        self._changed = threading.Condition()

    def wrap(self, look: Callable[..., Any]) -> Callable[..., Any]:
        def looked_at(*args: Any, **kwargs: Any) -> Any:
            with self._changed:
                self.count += 1
                self._changed.notify_all()
                assert self._changed.wait_for(lambda: self.count + self._ended >= self._guesses, PATIENCE)
            return look(*args, **kwargs)

        return looked_at

    def ended(self) -> None:
        with self._changed:
            self._ended += 1
            self._changed.notify_all()


def give_a_passkey(user: User) -> None:
    Authenticator.objects.create(user=user, type="webauthn", data={"name": "key", "credential": {}})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", GUESSES)
def test_of_guesses_sent_at_once_only_five_are_looked_at(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    guess = GUESSES[kind]
    if "code" in kind or "passkey" in kind:
        give_an_app(cast.alice)
    if "passkey" in kind:
        monkeypatch.setattr(webauthn, "get_credentials", lambda user: [])
        give_a_passkey(cast.alice)
    looked, clients = Looked(AT_ONCE), [Client() for _ in range(AT_ONCE)]
    for client in clients:
        guess.prepare(client)
    owner, name = guess.looked_at_by
    monkeypatch.setattr(owner, name, looked.wrap(getattr(owner, name)))

    def send(number: int) -> None:
        guess.send(clients[number], number)
        looked.ended()

    with in_threads(AT_ONCE) as run:
        run(send)
    assert looked.count == 5


@pytest.mark.django_db(transaction=True)
def test_the_right_password_among_many_wrong_ones_does_not_sign_in_after_five(cast: Cast) -> None:
    clients = [Client() for _ in range(28)]
    with in_threads(27) as run:
        run(lambda number: sign_in(clients[number], password="wrong"))
    assert sign_in(clients[27]).status_code == 429
    assert not is_in(clients[27])


# Right ones.


def test_right_passwords_do_not_count_even_if_no_second_factor_follows(cast: Cast) -> None:
    give_an_app(cast.alice)
    for _ in range(2 * FAILURE_LIMIT):
        assert sign_in(Client()).status_code == 302
    assert not AccessAttempt.objects.exists()
    assert not AttemptCount.objects.filter(scope__startswith="password", count__gt=0).exists()


def test_a_right_code_lets_earlier_wrong_ones_be_forgotten(cast: Cast, code: Callable[[int], str]) -> None:
    give_an_app(cast.alice)
    for step in (7, 8):
        client = Client()
        sign_in(client)
        for _ in range(CODES.count - 1):
            client.post("/login/second-factor/", {"code": "no"})
        assert client.post("/login/second-factor/", {"code": code(step)}).status_code == 302


def test_a_code_of_the_app_counts_once_in_all_processes(cast: Cast, code: Callable[[int], str]) -> None:
    give_an_app(cast.alice)
    answers = []
    for _ in range(2):
        client = Client()
        sign_in(client)
        client.post("/login/second-factor/", {"code": code(7)})
        answers.append(is_in(client))
        cache.clear()  # as in another process
    assert answers == [True, False]
    assert code(7) not in str(list(AttemptCount.objects.values()))


def test_a_code_of_the_app_is_valid_for_30_seconds(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    give_an_app(cast.alice)
    for seconds, accepted in ((-1, False), (0, True), (29, True), (30, False)):
        clock = SimpleNamespace(time=lambda now=300 + seconds: now)  # the step of the code begins at 300 s
        monkeypatch.setattr(totp, "time", clock)
        assert totp.validate_totp_code("JBSWY3DPEHPK3PXP", CODE_OF_STEP_10) is accepted


def test_the_link_that_was_sent_works_although_others_guessed_elsewhere(cast: Cast, client: Client) -> None:
    for number in range(6):
        answer = wrong_key(Client(REMOTE_ADDR="192.0.2.1"), number)
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0
    link = f"/login/forgotten/{user_pk_to_url_str(cast.alice)}-{default_token_generator.make_token(cast.alice)}/"
    assert client.get(link)["Location"].endswith("-set-password/")


# Without a cache that processes share.


AWAY = {"BACKEND": "ifeportal.web.cache.FaultTolerantRedisCache"}


@pytest.fixture(params=["Redis is away", "another process"])
def empty_cache(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Yield what to call between two attempts; the cache remembers nothing."""
    if request.param == "another process":
        yield cache.clear
        return
    away = {**AWAY, "LOCATION": f"redis://127.0.0.1:{free_port()}/0"}
    with override_settings(CACHES={"default": away}):
        yield lambda: None


def test_codes_are_limited_without_a_cache(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, empty_cache: Callable[[], None]
) -> None:
    give_an_app(cast.alice)
    looked: list[str] = []
    monkeypatch.setattr(totp.TOTP, "validate_code", lambda self, code: looked.append(code))
    client = Client()
    with_app(client)
    for number in range(10):
        client.post("/login/second-factor/", {"code": f"{number:06}"})
        empty_cache()
    assert len(looked) == CODES.count


def test_sign_ins_are_limited_without_a_cache(cast: Cast, empty_cache: Callable[[], None]) -> None:
    answers = []
    for number in range(SIGN_INS.count + 3):
        answers.append(sign_in(Client(), f"nobody-{number}", "wrong").status_code)
        empty_cache()
    assert answers == [200] * SIGN_INS.count + [429] * 3


# Spread over networks.


def guess_from(address: str, password: str = "wrong", client: Client | None = None) -> int:
    return int(sign_in(client or Client(), password=password, REMOTE_ADDR=address).status_code)


def test_all_networks_of_one_site_are_counted_together(cast: Cast) -> None:
    answers = [guess_from(f"2001:db8:1:{number:x}::1") for number in range(lockout.SITE_FAILURES.count + 2)]
    assert answers == [200] * lockout.SITE_FAILURES.count + [429] * 2
    assert guess_from("2001:db8:1:ffff::1", PASSWORD) == 429
    assert guess_from("2001:db8:2::1", PASSWORD) == 302
    refused = AccessAttempt.objects.filter(ip_address="2001:db8:1:ffff::")
    assert not refused.exists()  # a password that is not checked does not count for its network


def test_sign_ins_of_all_networks_of_one_site_are_counted_together(cast: Cast) -> None:
    limit = SIGN_INS.count * 2
    answers = [
        sign_in(Client(), f"nobody-{number}", "wrong", REMOTE_ADDR=f"2001:db8:1:{number:x}::1").status_code
        for number in range(limit + 1)
    ]
    assert answers == [200] * limit + [429]


@pytest.fixture
def attacked(cast: Cast) -> Client:
    """Have alice's name attacked from many networks. Return the browser in which she has signed in before."""
    own = Client(REMOTE_ADDR="192.0.2.7")
    assert sign_in(own).status_code == 302
    own.post("/logout/")
    for _ in range(lockout.NAME_FAILURES.count):
        assert take(lockout.NAME_FAILURES, "alice")
    return own


def test_an_attack_on_a_name_from_many_networks_slows_down(attacked: Client) -> None:
    first = sign_in(Client(), password="wrong", REMOTE_ADDR="198.51.100.1")
    second = sign_in(Client(), password="wrong", REMOTE_ADDR="198.51.100.2")
    assert [first.status_code, second.status_code] == [200, 429]
    assert 0 < int(second["Retry-After"]) <= 60
    assert "from many networks" in second.content.decode()
    AttemptCount.objects.filter(scope="password-slow").update(ends_at=timezone.now())
    assert guess_from("198.51.100.2") == 200
    assert sign_in(Client(), "bob").status_code == 302


def test_the_owner_signs_in_during_an_attack_on_a_known_device(attacked: Client) -> None:
    assert [guess_from(f"198.51.100.{number}") for number in range(3)] == [200, 429, 429]
    assert guess_from("203.0.113.9", PASSWORD) == 429
    assert guess_from("203.0.113.9", PASSWORD, attacked) == 302


def test_a_known_device_guesses_no_more_than_another(attacked: Client) -> None:
    answers = [guess_from(f"203.0.113.{number}", client=attacked) for number in range(12)]
    assert answers == [200] * lockout.DEVICE_FAILURES.count + [429] * 2
    other = Client()
    other.cookies = attacked.cookies
    assert sign_in(other, "bob", "wrong", REMOTE_ADDR="203.0.113.50").status_code == 200
    assert AttemptCount.objects.filter(scope="password-name", subject="bob").exists()  # not a device of bob


@pytest.mark.parametrize("cookie", ["", "x", "alice", "WyJhbGljZSIsIngiXQ:1:x", "\x00", "é" * 5_000])
def test_an_invented_cookie_is_no_known_device(attacked: Client, cookie: str) -> None:
    stranger = Client()
    stranger.cookies[devices.COOKIE] = cookie
    guess_from("198.51.100.1")
    assert guess_from("198.51.100.2", PASSWORD, stranger) == 429


def test_no_other_browser_or_success_resets_the_count_of_a_name(cast: Cast) -> None:
    for number in range(FAILURE_LIMIT):
        sign_in(Client(), password="wrong", HTTP_USER_AGENT=f"browser {number}")
    assert sign_in(Client(HTTP_USER_AGENT="another")).status_code == 429
    assert sign_in(Client(), REMOTE_ADDR="192.0.2.9").status_code == 302
    assert sign_in(Client()).status_code == 429
    assert AttemptCount.objects.get(scope="password-name").count == FAILURE_LIMIT
    row = AccessAttempt.objects.get()
    assert (row.username, row.failures_since_start, row.get_data, row.post_data) == ("alice", FAILURE_LIMIT, "", "")


def test_a_lock_ends_15_minutes_after_the_last_counted_attempt(cast: Cast) -> None:
    for _ in range(FAILURE_LIMIT):
        sign_in(Client(), password="wrong")
    AccessAttempt.objects.update(attempt_time=timezone.now() - COOL_OFF + timedelta(minutes=1))
    assert sign_in(Client()).status_code == 429  # not counted, so it does not extend the lock
    AccessAttempt.objects.update(attempt_time=timezone.now() - COOL_OFF)
    assert sign_in(Client()).status_code == 302
