"""Secrets are hidden in every encoding of Python, JSON, URLs and headers, in all output."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ifeportal.conf.logging import LogRedactor
from loader.logs import configure_logging
from loader.s3.auth.redaction import HIDDEN, LEARNED_LIMIT, Redactor, secrets_in
from loader.s3.client import S3Bucket
from tests.loader.end_to_end.test_secret_redaction import Output, look_on
from tests.support.aircraft import ROOT, Aircraft
from tests.support.echo_store import MEDIA, STATUS, EchoStore
from tests.support.portal_system import PATIENCE

TOKEN = "Tok\"en'of\\this/very+air craft%and==no&other<one>"
PASSWORD = "p@ss/word:of%the proxy"

secrets = st.one_of(
    st.text(min_size=8, max_size=60),
    st.text("ab\\'\"/+= %\r\n\t\x00\x1b\xe9\u2028\U0001f600", min_size=8, max_size=30),
    st.text("\\'", min_size=8, max_size=20),
).filter(lambda text: len(text.strip()) >= 8)


def forms(secret: str) -> Iterator[str]:
    """Yield the encodings in which a secret may appear."""
    yield secret
    yield repr(secret)[1:-1]
    yield ascii(secret)[1:-1]
    yield repr_twice(secret)
    yield repr(secret.encode())[2:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield json.dumps(json.dumps({"a": secret}))[11:-4]
    yield quote(secret)
    yield re.sub("%..", lambda found: found[0].lower(), quote(secret, safe=""))
    yield quote(quote(secret, safe=""), safe="")
    yield quote_plus(secret)
    for before in ("", "a", "user:", "ab"):
        together = f"{before}{secret}".encode()
        yield base64.b64encode(together).decode()
        yield base64.urlsafe_b64encode(together).decode().rstrip("=")
        yield quote(base64.b64encode(together), safe="")


def repr_twice(secret: str) -> str:
    """As in the repr of an error that contains a repr."""
    once = repr(secret)
    twice = repr(once)
    quotes = 2 if twice.startswith(once[0], 1) else 3
    return twice[quotes:-quotes]


def everywhere(text: str) -> Iterator[str]:
    yield f"before {text} after"
    yield f"Invalid header value b'{text}\\r'"


def assert_hidden(secret: str, shown: str, *, at_least: int = 1) -> None:
    assert shown.count(HIDDEN) >= at_least
    for form in forms(secret):
        assert form not in shown


@settings(max_examples=60, deadline=None)
@given(secrets, st.sampled_from(["", "\r", "\r\n", " "]))
def test_no_form_of_a_secret_passes_the_redactor(secret: str, end: str) -> None:
    assume(HIDDEN not in secret and secret not in HIDDEN)
    given_untrimmed, given_trimmed = Redactor([secret + end]), Redactor([secret.strip()])
    cleaner = LogRedactor([secret + end])
    for form in (*forms(secret), *forms(secret + end)):
        for text in everywhere(form):
            assert_hidden(secret.strip(), given_untrimmed(text))
            assert_hidden(secret.strip(), given_trimmed(text))
            assert_hidden(secret.strip(), str(cleaner(None, "", {"event": text})["event"]))


@settings(max_examples=40, deadline=None)
@given(secrets)
def test_no_form_of_a_secret_appears_in_a_logged_traceback(secret: str) -> None:
    assume(HIDDEN not in secret and secret not in HIDDEN)
    for as_json in (True, False):
        line = logged(secret, as_json=as_json)
        assert len(line.splitlines()) == 1
        assert_hidden(secret.strip(), line, at_least=3)


def logged(secret: str, *, as_json: bool) -> str:
    """Return the log of a record with a traceback whose errors quote the secret."""
    before, stream = list(logging.root.handlers), io.StringIO()
    hooks, raising = (sys.excepthook, sys.unraisablehook, threading.excepthook), logging.raiseExceptions
    try:
        configure_logging(stream, Redactor([secret]), as_json=as_json)
        try:
            try:
                raise ValueError(secret)
            except ValueError as error:
                raise KeyError({"token": secret}, secret.encode()) from error
        except KeyError:
            logging.getLogger("loader.test").exception("sent %r", secret)
    finally:
        logging.root.handlers[:] = before
        logging.captureWarnings(False)
        sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
        logging.raiseExceptions = raising
    return stream.getvalue()


@pytest.mark.parametrize("short", ["", "a", "key", "  key \r\n", "a" * 5])
def test_short_values_hide_nothing(short: str) -> None:
    text = "a key aaaaa IGEga2V5 %20 key"
    assert Redactor([short])(text) == text


@pytest.mark.parametrize("password", ["p@ss:word", "pass"])
def test_passwords_of_addresses_are_hidden_whole(password: str) -> None:
    redacted = Redactor(secrets_in({"https_proxy": f"http://crew:{quote(password, safe='')}@proxy:1"}))(
        f"to http://crew:{password}@proxy:1/ with Proxy-Authorization: Basic Y3Jldzpw"
    )
    assert password.partition("@")[2] or password not in redacted
    assert "ss:word" not in redacted
    assert "Y3Jldzpw" not in redacted


@pytest.mark.parametrize(
    "address",
    [
        "http://crew:hunter2/hunter2@proxy:1",  # not percent-encoded: no parser finds the password
        "crew:hunter2#hunter2@proxy:1",
        "http://crew:hunter2%2Fhunter2@proxy:1",
    ],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy", "AWS_ENDPOINT_URL_S3", "DATABASE_URL", "REDIS_URL"])
def test_a_password_is_hidden_in_whatever_address_it_is(name: str, address: str) -> None:
    redactor = Redactor(secrets_in({name: address}))
    written = address.rpartition("@")[0].rpartition("crew:")[2]
    for text in (written, written.replace("%2F", "/"), f"port could not be cast: {written!r}", address):
        assert "hunter2" not in redactor(text)


def test_secrets_of_the_settings_are_redacted_after_any_number_of_keys() -> None:
    redactor = Redactor(["password of the proxy"])
    redactor.keep("another-password")
    for number in range(2 * LEARNED_LIMIT):
        redactor.learn(f"temporary-key-{number:04}")
    newest = f"temporary-key-{2 * LEARNED_LIMIT - 1:04}"
    assert redactor(f"password of the proxy, another-password, {newest}") == ", ".join([HIDDEN] * 3)


SIGNATURE = "0123456789abcdef" * 4
NOT_LEARNED = [
    "GET https://b.s3.amazonaws.com/k?X-Amz-Credential={}%2F20261130&X-Amz-Signature={}&X-Amz-Security-Token={}",
    "https://b.s3.amazonaws.com/k?AWSAccessKeyId={}&Signature={}&Expires=1",
    "X-Amz-Signature%3D{}%26X-Amz-Credential%3D{}",
    "Authorization: AWS4-HMAC-SHA256 Credential={}/20261130/r/s3/aws4_request, SignedHeaders=host, Signature={}",
    "{{'Authorization': 'Bearer {}', 'X-Amz-Security-Token': '{}'}}",
    "{{b'Authorization': b'Basic {}', b'x-amz-security-token': b'{}'}}",
    "[('Authorization', 'Bearer {}'), (b'proxy-authorization', b'Basic {}')]",
    '{{\\"Authorization\\": \\"Token {}\\", \\"X-Amz-Signature\\": \\"{}\\"}}',
    "Proxy-Authorization: Basic {}",
    "Cookie: sessionid={}; csrftoken={}",
    "csrfmiddlewaretoken={}&login=crew",
]


@pytest.mark.parametrize("form", NOT_LEARNED)
def test_signatures_and_headers_are_redacted_without_registration(form: str) -> None:
    text = form.format(*[SIGNATURE] * 3)
    assert SIGNATURE[:8] not in Redactor()(text)
    assert SIGNATURE[:8] not in Redactor()(repr(text))
    assert SIGNATURE[:8] not in Redactor()(json.dumps({"error": text}))


def test_ordinary_sentences_are_unchanged() -> None:
    for text in (
        "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        "the signature of the campaign, which has expired, was rejected",
        "the proxy 10.0.0.1:3128 does not accept the user name and password in HTTPS_PROXY (407)",
        "GET ACME/2026-12/campaign.json: the store rejected the credentials (403 SignatureDoesNotMatch)",
    ):
        assert Redactor(["the-secret"])(text) == text


TELLER = """
import base64, json, logging, os, sys, threading
from urllib.parse import quote
from loader import main
from loader.errors import Code
from loader.s3.client import S3Bucket
from loader.media.manifest_reader import ManifestReader
from loader.media.snapshot import ManifestResult, MediaSnapshot

secret, log = TOLD, logging.getLogger("loader.test")
forms = [secret, repr(secret), repr(secret.encode()), json.dumps(secret), quote(secret, safe=""),
         base64.b64encode(b"user:" + secret.encode()).decode()]

def die():
    raise ValueError(*forms)

def look(self, stop):
    self._media._transport._credentials.current()
    thread = threading.Thread(target=die)
    thread.start()
    thread.join()
    try:
        die()
    except ValueError:
        log.exception("told: %s", forms)
    print("the tale was told", file=sys.stderr)
    results = {f"c{at}": ManifestResult(f"c{at}", code=Code.BAD_MANIFEST, text=form) for at, form in enumerate(forms)}
    results["d"] = ManifestResult("d", warning=forms[1])
    return MediaSnapshot(results, tuple(forms), code=Code.CREDENTIALS, text=" ".join(forms))

ManifestReader.read_all = look
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.processes
@pytest.mark.parametrize("as_json", ["1", ""], ids=["json", "plain"])
@pytest.mark.parametrize("source", ["environment", "profile"])
def test_no_form_of_a_secret_leaves_a_running_loader(source: str, as_json: str, tmp_path: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "tail1", "AWS_SECRET_ACCESS_KEY": "x" * 40, "AWS_SESSION_TOKEN": TOKEN + "\r"}
    if source == "profile":
        keys = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
        lines = ("[default]", "aws_access_key_id = tail1", f"aws_secret_access_key = {TOKEN}")
        (tmp_path / "credentials").write_text("\n".join(lines))
    with EchoStore("denied") as store:
        aircraft = Aircraft(tmp_path / "content", store.endpoint, keys, _empty_bucket(store), _empty_bucket(store))
        loader_output = output_of_loader(aircraft, as_json, store)
        written = [body.decode() for body in store.stored]
    assert "the tale was told" in loader_output.texts[1]
    stdout, stderr, *socket = loader_output.texts
    for shown, at_least in ((stdout, 6), (stderr, 18), ("\n".join(socket), 6), ("\n".join(written), 6)):
        assert_hidden(TOKEN, shown, at_least=at_least)
    assert any("BAD_MANIFEST" in body for body in written)
    assert any("CREDENTIALS" in body for body in written)


def _empty_bucket(store: EchoStore) -> S3Bucket:
    return S3Bucket("none", endpoint=store.endpoint, access_key="x", secret_key="x")


def output_of_loader(aircraft: Aircraft, as_json: str, store: EchoStore) -> Output:
    """Runs polls whose errors contain the secret in many encodings, until they are at the socket and reported."""
    script = aircraft.folder.with_name("teller.py")  # in a file: other users can read command lines
    script.write_text(TELLER.replace("TOLD", repr(TOKEN)))
    loader_environment = {
        "MEDIA_BUCKET": MEDIA,
        "STATUS_BUCKET": STATUS,
        "LOADER_JSON": as_json,
        "LOADER_REPORT_TIMEOUT": "2s",
    }
    process = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=ROOT,
        env=aircraft.environment(PYTHONPATH=str(ROOT), LOADER_POLL_INTERVAL="1s", **loader_environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(PATIENCE, process.terminate)
    timer.start()

    def enough(found: set[str]) -> bool:
        reported = b"".join(list(store.stored)).decode()
        is_reported = all(code in reported for code in ("BAD_MANIFEST", "CREDENTIALS"))
        return is_reported and all(text.count(HIDDEN) >= 6 for text in (reported, "".join(found)))

    try:
        return look_on(process, aircraft.folder, enough)
    finally:
        timer.cancel()


def test_a_setting_that_is_refused_is_not_shown_with_its_password(tmp_path: Path) -> None:
    environment = {"PATH": "", "AWS_ENDPOINT_URL_S3": f"ftp://crew:{quote(PASSWORD, safe='')}@store"}
    ended = subprocess.run(
        [sys.executable, "manage.py", "run_loader", "--airline=A", "--tail=T", f"--content-dir={tmp_path}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert_not_shown(ended.stderr)


def assert_not_shown(text: str) -> None:
    assert text
    assert all(form not in text for form in forms(PASSWORD))
