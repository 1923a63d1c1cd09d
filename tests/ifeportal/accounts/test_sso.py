"""Single sign-on against a local OpenID Connect provider with a real key."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from django.core.cache import cache
from django.http import HttpResponse
from django.test import Client, override_settings
from jwt.algorithms import RSAAlgorithm

from ifeportal.conf.authentication import signin_settings
from ifeportal.conf.environment import Config, ConfigError, read_config
from ifeportal.models import Membership, User
from tests.conftest import Cast
from tests.support.certificates import write_certificate
from tests.support.connect_proxy import ConnectProxy
from tests.support.scripted_store import ScriptedStore

CLIENT, SECRET = "portal", "a-secret-between-the-two"
ALICE = {"sub": "a-1", "email": "alice@example.org", "email_verified": True}


@dataclass
class Service:
    """The provider: claims that it returns, and requests that it received. `forger` signs instead of its key."""

    address: str = ""
    person: dict[str, Any] = field(default_factory=lambda: dict(ALICE))
    other: dict[str, Any] | None = None  # the userinfo, if it differs
    claims: dict[str, Any] = field(default_factory=dict)  # override those of the id_token
    forger: RSAPrivateKey | None = None
    key: RSAPrivateKey = field(default_factory=lambda: generate_private_key(65537, 2048))
    asked: list[str] = field(default_factory=list)
    challenges: dict[str, str] = field(default_factory=dict)

    def discovery(self) -> dict[str, Any]:
        parts = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
        return {f"{name}_endpoint": f"{self.address}/{path}" for name, path in parts.items()} | {
            "issuer": self.address,
            "jwks_uri": f"{self.address}/jwks",
        }

    def jwks(self) -> dict[str, Any]:
        public = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [public | {"kid": "k1", "alg": "RS256", "use": "sig"}]}

    def token(self, form: dict[str, str]) -> dict[str, Any] | None:
        """Return the tokens for a code; None if the client secret or the PKCE verifier does not match."""
        proof = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        known = (form["client_id"], form["client_secret"]) == (CLIENT, SECRET)
        if not known or self.challenges.pop(form["code"], "") != proof:
            return None
        now = int(time.time())
        claims = {"iss": self.address, "aud": CLIENT, "iat": now, "exp": now + 3600, **self.person, **self.claims}
        signed = jwt.encode(claims, self.forger or self.key, algorithm="RS256", headers={"kid": "k1"})
        return {"access_token": "opaque", "token_type": "Bearer", "expires_in": 60, "id_token": signed}


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            service.asked.append(path)
            answers = {"/.well-known/openid-configuration": service.discovery, "/jwks": service.jwks}
            if path in answers:
                self._answer(answers[path]())
            elif path == "/userinfo" and self.headers["Authorization"] == "Bearer opaque":
                self._answer(service.other or service.person)
            else:
                self._answer(None)

        def do_POST(self) -> None:
            service.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(service.token({name: values[0] for name, values in parse_qs(body).items()}))

        def _answer(self, found: dict[str, Any] | None) -> None:
            body = json.dumps(found or {"error": "invalid_request"}).encode()
            self.send_response(200 if found else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@pytest.fixture
def service(cast: Cast, key: RSAPrivateKey) -> Iterator[Service]:
    """Run the provider and configure the portal for it; Alice and Olga have e-mail addresses there."""
    cache.clear()
    for user in (cast.alice, cast.olga):
        User.objects.filter(pk=user.pk).update(email=f"{user.username}@example.org")
    with serving(Service(key=key)) as running:
        environment = {"OIDC_ISSUER": running.address, "OIDC_CLIENT_ID": CLIENT, "OIDC_CLIENT_SECRET": SECRET}
        config = read_config({**environment, "OIDC_NAME": "Crew login", "DEBUG": "1"})
        chosen = signin_settings(config, https=False)
        with override_settings(SOCIALACCOUNT_PROVIDERS=chosen["SOCIALACCOUNT_PROVIDERS"]):
            yield running


def come_back(client: Client, service: Service, begin: str = "/login/with/sso/", **changes: str) -> HttpResponse:
    """Follow the redirects to the provider and back. The provider asks for no input."""
    sent = client.get(begin)
    assert sent.status_code == 302
    asked = {name: values[0] for name, values in parse_qs(urlsplit(sent["Location"]).query).items()}
    assert sent["Location"].startswith(f"{service.address}/authorize?")
    assert asked["redirect_uri"] == "http://testserver/login/with/sso/back/"
    service.challenges["c0de"] = asked["code_challenge"]
    answer: HttpResponse = client.get("/login/with/sso/back/", {"code": "c0de", "state": asked["state"], **changes})  # type: ignore[assignment]
    return answer


def signed_in_user(client: Client) -> str | None:
    """Return the user of the session."""
    number = client.session.get("_auth_user_id")
    return None if number is None else User.objects.get(pk=number).username


def test_a_verified_address_signs_in_the_user_who_has_it(service: Service, client: Client) -> None:
    page = client.get("/login/?next=/airlines/ACME/").content.decode()
    assert "Sign in with Crew login" in page
    answer = come_back(client, service, "/login/with/sso/?next=/airlines/ACME/")
    assert answer["Location"] == "/airlines/ACME/"
    assert signed_in_user(client) == "alice"
    assert {"/token", "/userinfo", "/jwks"} <= set(service.asked)


def test_later_sign_ins_are_identified_by_the_subject(service: Service, client: Client) -> None:
    come_back(client, service)
    service.person["email"] = "olga@example.org"
    again = Client()
    come_back(again, service)
    assert signed_in_user(again) == "alice"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"email": "eve@example.org"}, "No user of this portal has your e-mail"),
        ({"email": "alice@example.org.evil.example"}, "No user of this portal has your e-mail"),
        ({"email": "al\N{LATIN SMALL LETTER DOTLESS I}ce@example.org"}, "No user of this portal has your e-mail"),
        ({"email_verified": False}, "Your e-mail address is not verified there"),
        ({"email_verified": "false"}, "Your e-mail address is not verified there"),
        ({"email_verified": None}, "Your e-mail address is not verified there"),
        ({"email": None}, "Your e-mail address is not verified there"),
        ({"email": ""}, "Your e-mail address is not verified there"),
    ],
)
def test_a_stranger_and_who_is_not_verified_do_not_get_in(
    service: Service, client: Client, changes: dict[str, Any], why: str
) -> None:
    users = User.objects.count()
    service.person |= changes
    answer = come_back(client, service)
    assert answer.status_code == 403
    assert why in answer.content.decode()
    assert signed_in_user(client) is None
    assert User.objects.count() == users
    assert not SocialAccount.objects.exists()


def test_another_account_of_the_service_with_the_same_address_does_not_get_in(service: Service, client: Client) -> None:
    come_back(Client(), service)
    service.person["sub"] = "a-2"
    answer = come_back(client, service)
    assert "connected to another account" in answer.content.decode()
    assert signed_in_user(client) is None


def test_an_address_that_two_users_have_is_nobodys(service: Service, cast: Cast, client: Client) -> None:
    User.objects.filter(pk=cast.bob.pk).update(email="Alice@Example.org")
    assert "More than one user" in come_back(client, service).content.decode()
    assert signed_in_user(client) is None


def test_a_disabled_user_does_not_get_in(service: Service, cast: Cast) -> None:
    come_back(Client(), service)
    User.objects.update(is_active=False)
    known, new = Client(), Client()
    assert come_back(known, service)["Location"] == "/login/disabled/"
    service.person = {"sub": "o-1", "email": "olga@example.org", "email_verified": True}
    assert come_back(new, service).status_code == 403
    assert signed_in_user(known) is signed_in_user(new) is None


def test_only_what_the_service_has_signed_for_us_and_for_now_counts(service: Service) -> None:
    forger = generate_private_key(65537, 2048)
    for claims in ({}, {"aud": "another"}, {"iss": "https://evil.example"}, {"exp": 1}):
        service.claims, service.forger = claims, None if claims else forger
        client = Client()
        assert come_back(client, service).status_code == 401, claims
        assert signed_in_user(client) is None
    service.claims, service.forger = {}, None
    service.other = {"sub": "o-1", "email": "olga@example.org", "email_verified": True}
    assert come_back(Client(), service).status_code == 401


def test_an_unsolicited_response_signs_no_user_in(service: Service, client: Client) -> None:
    assert client.get("/login/with/sso/back/", {"code": "c0de", "state": "invented"}).status_code == 401
    assert come_back(client, service, state="invented").status_code == 401
    assert "/token" not in service.asked


def test_a_cancelled_sign_in_gets_a_message(service: Service, client: Client) -> None:
    sent = client.get("/login/with/sso/")
    state = parse_qs(urlsplit(sent["Location"]).query)["state"][0]
    answer = client.get("/login/with/sso/back/", {"error": "access_denied", "state": state}, follow=True)
    assert "You cancelled the sign-in" in answer.content.decode()


def test_a_user_cannot_connect_the_account_of_another(service: Service, cast: Cast, client: Client) -> None:
    client.force_login(cast.bob)
    answer = come_back(client, service, "/login/with/sso/?process=connect")
    assert answer.status_code == 403
    assert not SocialAccount.objects.exists()


def test_a_second_factor_is_asked_for_all_the_same(service: Service, cast: Cast, client: Client) -> None:
    Authenticator.objects.create(user=cast.alice, type="totp", data={"secret": "JBSWY3DPEHPK3PXP"})
    assert come_back(client, service)["Location"] == "/login/second-factor/"
    assert signed_in_user(client) is None


def test_new_users_without_an_airline_are_created_only_if_enabled(service: Service, client: Client) -> None:
    service.person = {"sub": "n-1", "email": "New@example.org", "email_verified": True, "is_staff": True}
    with override_settings(OIDC_CREATES_USERS=True):
        come_back(client, service)
        assert signed_in_user(client) == "new@example.org"
        user = User.objects.get(username="new@example.org")
        assert [user.is_staff, user.is_superuser, user.has_usable_password()] == [False] * 3
        assert not Membership.objects.filter(user=user).exists()
        service.person |= {"sub": "n-2", "email": "other@example.org", "email_verified": False}
        assert come_back(Client(), service).status_code == 403
    assert "You do not belong to an airline yet" in client.get("/").content.decode()


def test_an_unavailable_identity_provider_is_reported(service: Service, client: Client) -> None:
    config = Config(oidc_issuer="http://127.0.0.1:9", oidc_client_id=CLIENT, oidc_client_secret=SECRET)
    away = signin_settings(config, https=False)["SOCIALACCOUNT_PROVIDERS"]
    with override_settings(SOCIALACCOUNT_PROVIDERS=away):
        answer = client.get("/login/with/sso/")
    assert answer.status_code == 502
    assert "returned an invalid response" in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("fault", ["authority", "proxy"])
def test_why_the_service_cannot_be_reached_is_in_the_log(
    fault: str, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write_certificate(tmp_path / "certificate.pem"))
    with ScriptedStore(context) as server, ConnectProxy(("127.0.0.1", 9), "Basic other") as proxy:
        reason = (
            "the certificate of the sign-in service is not from an authority that this machine trusts; set REQUESTS_"
        )
        if fault == "proxy":
            monkeypatch.setenv("HTTPS_PROXY", f"http://crew:hunter2hunter2@{proxy.address}")
            reason = f"the proxy {proxy.address} does not accept the user name and password in HTTPS_PROXY (407)"
        config = Config(oidc_issuer=server.endpoint, oidc_client_id=CLIENT, oidc_client_secret=SECRET)
        providers = signin_settings(config, https=False)["SOCIALACCOUNT_PROVIDERS"]
        with override_settings(SOCIALACCOUNT_PROVIDERS=providers, OIDC_ISSUER=server.endpoint):
            assert client.get("/login/with/sso/").status_code == 502
    assert reason in caplog.text
    assert "hunter2" not in caplog.text


def test_without_the_settings_there_is_no_such_way(cast: Cast, client: Client) -> None:
    assert client.get("/login/with/sso/").status_code == 404
    assert "Sign in with</a>" not in client.get("/login/").content.decode()


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"OIDC_ISSUER": "http://login.example.org"}, "OIDC_ISSUER must be a URL that starts with https://"),
        ({"OIDC_ISSUER": "https://login.example.org"}, "Set all three or none"),
        ({"OIDC_CLIENT_SECRET": "x"}, "Set all three or none"),
    ],
)
def test_half_of_it_or_without_tls_is_refused_at_the_start(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        read_config(environment)
