"""A real store that is down, slow, refuses or disconnects: nothing is lost, and nothing is treated as deleted."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone

from fleet.models import Tail, Transfer
from fleet.polling.poller import PollOptions, poll_airline
from fleet.reconcile.limits import Limits
from fleet.simulation.faults import ErrorInside, ErrorResponse, Fault, Hang, Reset, Rule, Truncate
from loader.s3.client import S3Bucket
from tests.conftest import Cast
from tests.support.listing_pages import Entry, Page
from tests.support.polling_world import rows, transfer
from tests.support.portal_system import wait_until
from tests.support.proxied_buckets import ProxiedBuckets, open_problems

pytestmark = pytest.mark.django_db

CROWD, PAGE = 1_000_000, 1_000


@pytest.fixture
def polled(proxied: ProxiedBuckets) -> ProxiedBuckets:
    """Create a load that was polled and has changed since."""
    proxied.manifest(items={"a": 100, "b": 100})
    proxied.progress("N1/2026-12/a", 40)
    proxied.error("N1/2026-12/b", "IO_ERROR: x")
    assert proxied.poll().failures == ()
    proxied.progress("N1/2026-12/a", 61)
    proxied.remove("N1/2026-12/b.tgz.error")
    proxied.link.log.clear()
    return proxied


def catches_up(proxied: ProxiedBuckets) -> bool:
    """Return whether the next poll reads all changes."""
    proxied.link.rules.clear()
    return proxied.poll().failures == () and (transfer("a").bytes_done, transfer("b").error) == (61, "")


def test_an_unavailable_store_is_reported_and_changes_no_row(polled: ProxiedBuckets) -> None:
    before = rows()
    polled.link.offline()
    result = polled.poll()
    assert [failure.partition(": ")[0] for failure in result.failures] == ["media bucket", "status bucket"] * 2
    assert result.listings == 0
    assert rows() == before
    polled.link.online()
    assert catches_up(polled)


def test_a_store_that_never_answers_holds_a_poll_no_longer_than_its_timeouts(polled: ProxiedBuckets) -> None:
    before = rows()
    hung = polled.link.add(Rule(Hang(), "*", times=None))
    patient = polled.proxied_media, polled.proxied_status
    polled.proxied_media, polled.proxied_status = (
        polled.through_proxy(each, 0.2) for each in (polled.media, polled.status)
    )
    result = polled.poll()
    wait_until(lambda: hung.hits == len(polled.link.log) == 4 * 3)  # two buckets, read twice, each with three attempts
    assert all("TIMEOUT" in failure for failure in result.failures)
    assert rows() == before
    polled.proxied_media, polled.proxied_status = patient
    assert catches_up(polled)


@pytest.mark.parametrize(
    ("fault", "code", "attempts"),
    [
        (ErrorResponse(403, "AccessDenied"), "FORBIDDEN", 1),
        (ErrorResponse(503, "SlowDown"), "THROTTLED", 3),
        (ErrorResponse(503, "SlowDown", retry_after=3_600), "THROTTLED", 1),
        (Reset(), "NETWORK", 3),
        (ErrorInside(), "NETWORK", 1),
    ],
    ids=["403", "503", "503 for an hour", "reset", "error in a 200"],
)
def test_a_listing_that_is_refused_changes_nothing(
    polled: ProxiedBuckets, fault: Fault, code: str, attempts: int
) -> None:
    before = rows()
    refused = polled.breaks(fault, "LIST")
    result = polled.poll()
    assert refused.hits == 2 * attempts, "to find airlines, and to read one"
    assert {failure.split(": ")[1] for failure in result.failures} == {code}
    assert rows() == before
    assert catches_up(polled)


def test_a_store_that_asks_to_slow_down_is_asked_again_in_the_same_poll(polled: ProxiedBuckets) -> None:
    throttled = polled.breaks(ErrorResponse(503, "SlowDown", retry_after=1), "LIST", times=2)
    assert catches_up_under(polled, throttled)
    throttled = polled.breaks(ErrorResponse(503, "SlowDown"), key="/*", times=2)
    polled.progress("N1/2026-12/a", 62)
    assert polled.poll().failures == ()
    assert (throttled.hits, transfer("a").bytes_done) == (2, 62)


def catches_up_under(proxied: ProxiedBuckets, rule: Rule) -> bool:
    return proxied.poll().failures == () and rule.hits == 2 and transfer("a").bytes_done == 61


def test_a_forbidden_object_is_reported_and_the_others_are_read(polled: ProxiedBuckets) -> None:
    polled.error("N1/2026-12/b", "IO_ERROR: y")
    refused = polled.breaks(ErrorResponse(403, "AccessDenied"), key="/*/b.tgz.error")
    assert polled.poll().failures == ()
    assert refused.hits == 1
    assert transfer("a").bytes_done == 61
    assert open_problems() == {"ACME/N1/2026-12/b.tgz.error": "FORBIDDEN"}
    polled.link.rules.clear()
    polled.poll()
    assert (transfer("b").error, open_problems()) == ("y", {})


BREAKS: dict[str, Fault] = {
    "reset": Reset(after=5_000),
    "cut": Truncate(after=5_000),
    "cut, and nothing looks wrong": Truncate(after=5_000, lie=True),
    "cut in chunks": Truncate(after=5_000, chunked=True),
    "error in a 200": ErrorInside(),
    "refused": ErrorResponse(500, "InternalError"),
}


def test_half_a_listing_deletes_nothing_and_changes_nothing(proxied: ProxiedBuckets) -> None:
    names = [f"N{number:03d}" for number in range(275)]
    proxied.write_all({f"{tail}/2026-12/{item}.tgz.progress": b"0" for tail in names for item in "abcd"})
    assert proxied.poll().failures == ()
    assert Transfer.objects.count() == 1_100
    before = rows()
    for name, fault in BREAKS.items():
        broken = proxied.breaks(fault, "LIST", nth=3)  # after the listing of airlines, and the first page
        result = proxied.poll()
        assert broken.hits >= 1, name
        assert broken.seen - broken.hits == 2, name
        assert len(result.failures) == 1, name
        assert rows() == before, name
        proxied.link.rules.clear()
    proxied.remove("N274/2026-12/d.tgz.progress")
    assert proxied.poll().objects_changed == 1


class Crowd(ThreadingHTTPServer):
    """A simulated store: the tail N1 with a million keys, then N2 to N4 with one that changes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CrowdHandler)
        self.value = 1

    def page(self, prefix: str, start: int) -> bytes:
        mine = "ACME/N1/2026-12/".startswith(prefix) or prefix.startswith("ACME/N1/")
        if mine and start < CROWD:
            return crowded_page(start)
        others = [f"ACME/N{number}/2026-12/a.tgz.progress" for number in (2, 3, 4)]
        etag = f"{self.value:032d}"
        entries = [Entry(key, len(str(self.value)), etag) for key in others if key.startswith(prefix)]
        return Page(entries).written_by("aws")


@cache
def crowded_page(start: int) -> bytes:
    keys = (f"ACME/N1/2026-12/{number:07d}.tgz.progress" for number in range(start, start + PAGE))
    return Page([Entry(key) for key in keys], token=str(start + PAGE)).written_by("aws")


class CrowdHandler(BaseHTTPRequestHandler):
    server: Crowd
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path.strip("/").count("/"):
            self._answer(b"%d" % self.server.value)
        elif "delimiter" in query and not query.get("prefix"):
            self._answer(Page(prefixes=["ACME/"]).written_by("aws"))
        elif "delimiter" in query:
            self._answer(Page(prefixes=[f"ACME/N{number}/" for number in (1, 2, 3, 4)]).written_by("aws"))
        elif parts.path.strip("/") == "media":
            self._answer(Page().written_by("aws"))
        else:
            start = int(query.get("continuation-token", "0"))
            self._answer(self.server.page(query.get("prefix", ""), start))

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{self.server.value:032d}"')
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 03:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with Crowd() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()
    crowded_page.cache_clear()


def test_a_million_keys_under_one_tail_delay_no_other_tail_by_more_than_a_cycle(crowd: Crowd, cast: Cast) -> None:
    limits, endpoint = Limits(keys=120_000, objects=50), f"http://127.0.0.1:{crowd.server_port}"
    media, status = (S3Bucket(name, endpoint=endpoint, access_key="a", secret_key="b") for name in ("media", "status"))
    poll_airline(cast.acme, media, status, timezone.now(), PollOptions(limits))
    heavy = Tail.objects.get(name="N1")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for value in (5, 77):
        crowd.value = value
        result = poll_airline(cast.acme, media, status, timezone.now(), PollOptions(limits))
        stored_values = set(Transfer.objects.exclude(load__tail=heavy).values_list("bytes_done", flat=True))
        assert stored_values == {value}, "in the second cycle, and each one after it"
        pages = limits.keys // PAGE
        assert pages <= result.list_requests < pages + 20, "of the million, no more than the limit"
        assert result.truncated == 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1_024
    assert grown < 100_000_000
    assert Transfer.objects.filter(load__tail=heavy).count() == 50
    assert "TOO_MANY_KEYS" in set(open_problems().values())
