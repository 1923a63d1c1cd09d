"""No secret of the aircraft is visible outside the process, whatever fails and whatever a store returns.

Checked: its output, the status bucket, the socket, exceptions, and the list of processes.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from loader.errors import Code, WorldError
from loader.local_api.unix_socket import connect_socket
from loader.logs import configure_logging
from loader.s3.auth.redaction import HIDDEN, Redactor, secrets_in
from loader.s3.client import S3Bucket
from tests.support.aircraft import ROOT, Aircraft, publish
from tests.support.connect_proxy import ConnectProxy
from tests.support.echo_store import ECHO_KINDS, MEDIA, STATUS, EchoStore
from tests.support.local_programs import GET_STATUS

SECRET = "sEcReT/oF+ThE/AiRcRaFt/0123456789abcdefg"
TOKEN = "FwoGZXIvYXdzEToKenOfThisVeryAircraftAndNoOther//////////"
PASSWORD = "PassWordOfTheProxy"


@dataclass
class Output:
    """Everything visible of a loader from outside while it ran."""

    code: int
    texts: list[str] = field(default_factory=list)

    def assert_free_of(self, *secrets: str) -> None:
        assert all(secrets)
        shown = "\n".join(self.texts)
        assert shown
        for secret in secrets:
            assert secret not in shown


LOOKS = 0.05  # seconds between two; each costs the loader an answer


def look_on(
    process: subprocess.Popen[str], directory: Path, enough: Callable[[set[str]], bool] = lambda _: False
) -> Output:
    """Query its socket and the list of processes until it has exited; stop it when what was found is `enough`."""
    found: set[str] = set()
    while process.poll() is None:
        found |= processes(process.pid)
        found |= at_the_socket(directory)
        if enough(found):
            process.terminate()
        time.sleep(LOOKS)
    stdout, stderr = process.communicate(timeout=60)
    return Output(process.returncode, [stdout, stderr, *found])


def processes(pid: int) -> set[str]:
    """Return the command lines of a process and of its children, as `ps` shows them."""
    lines = set()
    for one in (pid, *children(pid)):
        try:
            lines.add(Path(f"/proc/{one}/cmdline").read_bytes().decode())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return lines


def children(pid: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(one) for thread in threads for one in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def at_the_socket(directory: Path) -> set[str]:
    try:
        with connect_socket(directory, 5.0) as client:
            client.sendall(GET_STATUS)
            client.shutdown(socket.SHUT_WR)
            return {b"".join(iter(lambda: client.recv(65536), b"")).decode()}
    except OSError:
        return set()


def run(folder: Path, endpoint: str, *options: str, **more: str) -> Output:
    """Run `run_loader --once` with our secrets."""
    empty = S3Bucket("none", endpoint=endpoint, access_key="x", secret_key="x")
    keys = {"AWS_ACCESS_KEY_ID": "tail1", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
    environment = {
        "MEDIA_BUCKET": MEDIA,
        "STATUS_BUCKET": STATUS,
        "LOADER_TRIES": "2",
        "LOADER_REPORT_TIMEOUT": "300ms",
        **more,
    }
    aircraft = Aircraft(folder, endpoint, keys, empty, empty)
    return look_on(aircraft.start("--once", *options, **environment), folder)


# Complete runs.


@pytest.mark.processes
@pytest.mark.parametrize(
    ("tale", "as_json"),
    [("mismatch", "1"), ("code", ""), ("redirect", "1"), ("manifest", ""), ("item", "1"), ("junk", "")],
)
def test_a_store_that_echoes_requests_reveals_no_secret(tmp_path: Path, tale: str, as_json: str) -> None:
    with EchoStore(tale) as store:
        output = run(tmp_path / "content", store.endpoint, LOADER_JSON=as_json)
        assert store.echoes > 0
        assert store.signatures
        output.texts += [body.decode() for body in store.stored]
        assert output.code in (1, 75)
        output.assert_free_of(SECRET, TOKEN, *store.signatures)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("endpoint", "more", "code"),
    [
        ("http://no-such-host.invalid:9000", {}, "NETWORK"),
        ("http://127.0.0.1:1", {}, "NETWORK"),
        ("https://{store}", {}, "NETWORK"),
        ("https://store.invalid", {"HTTPS_PROXY": f"http://crew:{PASSWORD}@127.0.0.1:1"}, "NETWORK"),
    ],
    ids=["no name", "refused", "no TLS there", "no proxy there"],
)
def test_a_store_that_cannot_be_reached(tmp_path: Path, endpoint: str, more: dict[str, str], code: str) -> None:
    with EchoStore("denied") as store:
        there = endpoint.replace("{store}", store.endpoint.removeprefix("http://"))
        output = run(tmp_path / "content", there, **more)
    assert (output.code, any(code in text for text in output.texts)) == (75, True)
    output.assert_free_of(SECRET, TOKEN, PASSWORD)


@pytest.mark.processes
@pytest.mark.parametrize("as_json", ["1", ""], ids=["json", "plain"])
def test_a_proxy_that_refuses_the_password_and_repeats_it(as_json: str, tmp_path: Path) -> None:
    with ConnectProxy(("127.0.0.1", 9)) as proxy:
        address = f"http://crew:{PASSWORD}@{proxy.address}"
        output = run(tmp_path / "content", "https://store.invalid", HTTPS_PROXY=address, LOADER_JSON=as_json)
        reason = f"the proxy {proxy.address} does not accept the user name and password in HTTPS_PROXY (407)"
        sent = {headers["proxy-authorization"] for _, headers in proxy.asked}
    assert (output.code, any(reason in text for text in output.texts)) == (75, True)
    assert sent == {f"Basic {base64.b64encode(f'crew:{PASSWORD}'.encode()).decode()}"}
    output.assert_free_of(SECRET, TOKEN, PASSWORD, *sent)


@pytest.mark.processes
def test_a_real_store_that_refuses_the_secret(aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", {"a": b"content"})
    process = aircraft.start("--once", AWS_SECRET_ACCESS_KEY=SECRET, LOADER_REPORT_TIMEOUT="1s")
    output = look_on(process, aircraft.folder)
    assert output.code != 0
    assert any("CREDENTIALS" in text for text in output.texts)
    output.assert_free_of(SECRET)


@pytest.mark.processes
def test_a_load_that_goes_well_shows_none_either(aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", {"a": b"content" * 100_000})
    output = look_on(aircraft.start("--once", "--bandwidth-limit", "700kB"), aircraft.folder)
    output.texts += [body.decode() for body in aircraft.reports().values()]
    assert output.code == 0
    output.assert_free_of(aircraft.keys["AWS_SECRET_ACCESS_KEY"])


# Exceptions.


@pytest.mark.parametrize("tale", [tale for tale in ECHO_KINDS if tale not in ("manifest", "item")])
@pytest.mark.parametrize("what", ["list", "get", "open"])
def test_exceptions_and_their_causes_hold_none(tale: str, what: str) -> None:
    with EchoStore(tale) as store:
        bucket = S3Bucket(
            MEDIA, endpoint=store.endpoint, access_key="tail1", secret_key=SECRET, session_token=TOKEN, sleep=_at_once
        )
        with pytest.raises(WorldError) as caught:
            asked(bucket, what)
        assert store.echoes > 0
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    for secret in (SECRET, TOKEN, *store.signatures):
        assert secret not in shown


def _at_once(seconds: float) -> None:
    """A sleep that returns at once."""


def asked(bucket: S3Bucket, what: str) -> None:
    if what == "list":
        list(bucket.list("ACME/"))
    elif what == "get":
        bucket.get("ACME/c/campaign.json", 100_000)
        raise WorldError(Code.INTERNAL)  # the echoed request is a body like any other
    else:
        with bucket.open("ACME/c/a.tgz") as body:
            body.readinto(memoryview(bytearray(100_000)))
        raise WorldError(Code.INTERNAL)


# Logs.


@pytest.fixture
def logged() -> Iterator[Callable[..., io.StringIO]]:
    """Run `configure_logging` for one test and restore everything afterwards."""
    handlers, hooks = list(logging.root.handlers), (sys.excepthook, sys.unraisablehook, threading.excepthook)
    raising = logging.raiseExceptions

    def begin(*, as_json: bool) -> io.StringIO:
        stream = io.StringIO()
        configure_logging(
            stream,
            Redactor(secrets_in({"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN})),
            as_json=as_json,
        )
        return stream

    yield begin
    logging.root.handlers[:] = handlers
    logging.captureWarnings(False)
    logging.raiseExceptions = raising
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks


def everything_goes_wrong() -> None:
    """Log a record with arguments, a traceback, a warning, a dying thread, and an unraisable exception."""
    log = logging.getLogger("loader.test")
    log.warning("key %s of\nthe \x1b[31mtail", SECRET)
    log.warning("GET http://s/?X-Amz-Signature=%s&X-Amz-Security-Token=%s", "ab" * 32, TOKEN)
    log.warning("Authorization: AWS4-HMAC-SHA256 Credential=AKIA/1/2, Signature=%s", "cd" * 32)
    log.warning("to http://crew:%s@proxy:1/ it goes", PASSWORD)
    try:
        raise ValueError(f"with {SECRET}\nin it")
    except ValueError:
        log.exception("It failed")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"beware of {TOKEN}", stacklevel=1)
    dying = threading.Thread(target=lambda: [][0], name="dying")
    dying.start()
    dying.join()

    class Stubborn:
        def __del__(self) -> None:
            raise RuntimeError(SECRET)

    Stubborn()
    log.warning("%d", "not a number")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_line_of_the_log_is_one_json_object_without_a_secret(logged: Callable[..., io.StringIO]) -> None:
    stream = logged(as_json=True)
    everything_goes_wrong()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 8
    assert all({"at", "event", "level", "logger", "text"} <= set(line) for line in lines)
    assert any("IndexError" in " ".join(line.get("traceback", [])) for line in lines)
    for secret in (SECRET, TOKEN, PASSWORD, "ab" * 32, "cd" * 32):
        assert secret not in stream.getvalue()
    assert HIDDEN in stream.getvalue()
    assert lines[0]["text"] == f"key {HIDDEN} of the ␛[31mtail"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_plain_log_has_one_line_a_record_and_no_secret_either(logged: Callable[..., io.StringIO]) -> None:
    stream = logged(as_json=False)
    everything_goes_wrong()
    assert len(stream.getvalue().splitlines()) == 8
    assert all(secret not in stream.getvalue() for secret in (SECRET, TOKEN, PASSWORD))


def test_an_uncaught_exception_is_logged_as_one_json_object() -> None:
    script = (
        "import sys; from loader.logs import *; from loader.s3.auth.redaction import Redactor; "
        "configure_logging(sys.stderr, Redactor(['open sesame']), as_json=True);"
        "raise ValueError('open sesame')"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    [line] = ended.stderr.splitlines()
    assert (ended.returncode, json.loads(line)["level"]) == (1, "critical")
    assert "open sesame" not in line.replace("ValueError('open sesame')", "")


def test_short_settings_do_not_blot_out_words() -> None:
    assert Redactor(["", "a", "key"])("a key") == "a key"
