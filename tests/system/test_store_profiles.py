"""Loading, polling and publishing under the documented quirks of each store: a proxy imposes them on a real store."""

from __future__ import annotations

import gzip
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest

from campaigns.publishing.folder_publisher import publish_folder
from fleet.simulation.faults import Reset, Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.management.commands.check_store import PLANS as PORTAL_PLANS
from loader.s3.auth.credentials import S3Credentials
from loader.s3.check.findings import Outcome, StoreReport
from loader.s3.check.plan import Budget
from loader.s3.check.runner import check_store
from loader.s3.client import S3Bucket
from loader.s3.http import transport
from loader.s3.http.transport import S3Request
from loader.s3.http.urls import AddressingStyle
from loader.s3.location import StoreLocation, find_location
from loader.store_check import loader_plans
from tests.support.aircraft import AIRLINE, TAIL, Aircraft, publish
from tests.support.fork_server import ForkServer
from tests.support.localhost_names import resolving_localhost
from tests.support.polling_world import load, transfer
from tests.support.portal_system import wait_until
from tests.support.proxied_buckets import ProxiedBuckets, StoreCredentials, open_problems
from tests.support.store_profiles import BY_NAME, HEARTBEAT, ITEM, MANIFEST, PROFILES, PROGRESS
from tests.support.store_quirks import QuirkyStore, StoreProfile

pytestmark = pytest.mark.processes

MOVIE = random.Random(7).randbytes(700_000)
PLANS = {
    "loader": loader_plans(AIRLINE, TAIL),
    "portal": PORTAL_PLANS,
}
CUT = 300_000  # bytes after which the first connection breaks


@dataclass
class Store:
    """A store with quirks, as programs reach it, and its two buckets behind the quirks."""

    quirks: QuirkyStore
    link: FaultProxy
    endpoint: str
    media: S3Bucket
    status: S3Bucket
    trouble: list[Rule]

    @property
    def profile(self) -> StoreProfile:
        return self.quirks.profile

    def check(self, user: str, region: str = "") -> StoreReport:
        buckets = (self.client_of(self.media, region), self.client_of(self.status, region))
        return check_store(user, list(zip(buckets, PLANS[user], strict=True)), Budget())

    def client_of(self, bucket: S3Bucket, region: str = "") -> S3Bucket:
        """Return a bucket as programs see it, without pauses between attempts."""
        keys = self.quirks.keys
        return S3Bucket(
            bucket.name,
            endpoint=self.endpoint,
            region=region or self.profile.region,
            access_key=keys.access,
            secret_key=keys.secret,
            sleep=lambda _: None,
        )

    def assert_happened(self, *quirks: str) -> None:
        """Each of the quirks that the profile has was applied; so was the trouble that this traffic can meet."""
        default = StoreProfile("", "")
        missing = [
            quirk
            for quirk in quirks
            if getattr(self.profile, quirk) != getattr(default, quirk) and not self.quirks.happened[quirk]
        ]
        assert missing == [], self.quirks.happened

    def assert_troubled(self, *traffic: tuple[str, str]) -> None:
        """The trouble of requests with these methods and keys ("*": all) happened."""
        met = [rule for rule in self.trouble if {(rule.method, "*"), (rule.method, rule.key)} & {*traffic}]
        assert [rule for rule in met if not rule.hits] == []


class MakeStore(Protocol):
    """Makes the store of a profile."""

    def __call__(self, profile: StoreProfile, style: AddressingStyle | None = None) -> Store: ...


def in_style(endpoint: str, style: AddressingStyle) -> Callable[[str | None, str | None], StoreLocation]:
    """Return `find_location` with this addressing style for the endpoint."""

    def find(given: str | None = None, region: str | None = None) -> StoreLocation:
        location = find_location(given, region)
        return replace(location, style=style) if given == endpoint else location

    return find


def put_encoded(bucket: S3Bucket, key: str, body: bytes) -> None:
    """Put an object that is stored compressed: with Content-Encoding."""
    bucket.transport.call(S3Request("put", "PUT", key, {"Content-Encoding": "gzip"}, body=body))


@pytest.fixture
def stores(
    seaweed: SeaweedFS, media: S3Bucket, status: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeStore]:
    """Return a function that makes the store of a profile."""
    monkeypatch.setattr(socket, "getaddrinfo", resolving_localhost(socket.getaddrinfo))
    keys = S3Credentials(seaweed.access_key, seaweed.secret_key)
    with FaultProxy(seaweed.endpoint) as link:

        def make(profile: StoreProfile, style: AddressingStyle | None = None) -> Store:
            endpoint = link.endpoint.replace("127.0.0.1", "localhost") if profile.path_style_refused else link.endpoint
            # The variable would apply to the buckets that other threads create meanwhile, too.
            monkeypatch.setattr(transport, "find_location", in_style(endpoint, style or profile.addressing))
            quirks = QuirkyStore(profile, keys)
            return Store(quirks, link, endpoint, media, status, quirks.impose(link))

        yield make


@pytest.fixture(params=PROFILES, ids=lambda profile: profile.name)
def store(request: pytest.FixtureRequest, stores: MakeStore) -> Store:
    return stores(request.param)


def test_an_interrupted_load_resumes_and_reports(
    store: Store, fork_server: ForkServer, seaweed: SeaweedFS, tmp_path: Path
) -> None:
    contents = {"movie-001": MOVIE, "jan+feb 100% é": b"a plus in the name", "zipped": gzip.compress(MOVIE[:9_000])}
    publish(store.media, "dec+jan", contents)
    put_encoded(store.media, "ACME/dec+jan/zipped.tgz", contents["zipped"])
    cut = store.link.add(Rule(Reset(after=CUT), key=ITEM, nth=1 + sum(r.key == ITEM for r in store.trouble)))
    aircraft = Aircraft(tmp_path / "content", store.endpoint, seaweed.environment(), store.media, store.status)
    aircraft.folder.mkdir()
    place = {"AWS_REGION": store.profile.region, "AWS_S3_ADDRESSING_STYLE": store.profile.addressing}
    run = fork_server.start(aircraft.environment(**place), "--once").end()
    assert run.code == 0, run
    assert {name: aircraft.path("dec+jan", name).read_bytes() for name in contents} == contents
    assert aircraft.progress("dec+jan") == {name: len(body) for name, body in contents.items()}
    assert aircraft.errors() == {}
    assert aircraft.heartbeat().extra["ended"] is True
    assert cut.hits == 1
    resumed = store.link.requests("GET", ITEM)[-1]
    assert resumed.range.startswith("bytes=")
    assert resumed.sent < len(MOVIE)
    store.assert_happened("object_etag", "listing_etag", "key_count", "plus_unencoded", "year_one", "conditional_put")
    store.assert_happened("unknown_size", "no_date", "chunked", "versioned", "content_md5_required", "page_size")
    store.assert_happened("folder_markers", "empty_first_page", "path_style_refused", "transcodes", "error_body")
    store.assert_troubled(("GET", "*"), ("LIST", "*"), ("PUT", HEARTBEAT), ("PUT", PROGRESS))


@pytest.mark.django_db
def test_a_second_poll_reads_nothing_again(store: Store) -> None:
    proxied = ProxiedBuckets(
        store.media, store.status, store.link, StoreCredentials(store.quirks.keys.access, store.quirks.keys.secret)
    )
    proxied.proxied_media, proxied.proxied_status = store.client_of(store.media), store.client_of(store.status)
    proxied.manifest("dec+jan", items={"movie-001": 700_000, "b": 10})
    proxied.progress("N1/dec+jan/movie-001", 123_457)
    proxied.progress("N1/dec+jan/b", 10)
    proxied.error("N1/dec+jan/movie-001", "TIMEOUT: slow")
    first = proxied.poll()
    assert first.failures == ()
    assert transfer("movie-001", campaign="dec+jan").bytes_done == 123_457
    assert load(campaign="dec+jan").items_done == 1
    assert open_problems() == {}
    if store.profile.listing_etag == "absent":
        # Dates in whole seconds identify versions: an object of the same second may change unnoticed.
        wait_until(lambda: proxied.poll().get_requests == 0)
    second = proxied.poll()
    assert (second.failures, second.get_requests, second.objects_changed) == ((), 0, 0)
    proxied.progress("N1/dec+jan/movie-001", 223_457)
    third = proxied.poll()
    assert third.get_requests == 1
    assert transfer("movie-001", campaign="dec+jan").bytes_done == 223_457
    store.assert_happened("listing_etag", "key_count", "plus_unencoded", "year_one", "folder_markers", "page_size")
    store.assert_troubled(("LIST", "*"))


def test_a_campaign_is_published_twice(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "december"
    folder.mkdir()
    (folder / "movie-001.tgz").write_bytes(MOVIE)
    first = publish_folder(folder, "ACME", "dec+jan", store.client_of(store.media))
    (folder / "b.tgz").write_bytes(gzip.compress(b"second"))
    second = publish_folder(folder, "ACME", "dec+jan", store.client_of(store.media))
    assert (first.version, first.changed, first.bytes_uploaded) == (1, True, len(MOVIE))
    assert (second.version, second.changed) == (2, True)
    assert {item.name: item.outcome for item in second.items} == {"movie-001": "unchanged", "b": "uploaded"}
    third = publish_folder(folder, "ACME", "dec+jan", store.client_of(store.media))
    assert (third.version, third.changed, third.bytes_uploaded) == (2, False, 0)
    store.assert_happened("conditional_put", "content_md5_required", "object_etag", "listing_etag", "key_count")
    store.assert_troubled(("LIST", "*"), ("PUT", MANIFEST))


@pytest.mark.parametrize("user", PLANS)
def test_a_check_names_what_the_store_does_differently(store: Store, user: str) -> None:
    for bucket, key in ((store.media, "ACME/dec+jan/{}.tgz"), (store.status, "ACME/D-ABCD/dec+jan/{}.tgz.progress")):
        for name in "ab":
            bucket.put(key.format(name), b"700000")
    report = store.check(user)
    assert report.missing == []
    expected = {each.check: each for each in store.profile.findings}
    tried = {each.check for each in report.findings}
    warned = {each.check for each in report.findings if each.outcome != Outcome.OK}
    assert warned == {check for check, each in expected.items() if each.outcome != "ok" and check in tried}
    for finding in report.findings:
        if finding.check in expected and finding.outcome == expected[finding.check].outcome:
            assert finding.text.startswith(expected[finding.check].text)
    assert [each.key for bucket in (store.media, store.status) for each in bucket.list() if ".check" in each.key] == []
    store.assert_happened("object_etag", "listing_etag", "key_count", "plus_unencoded", "year_one", "conditional_put")
    store.assert_happened("unknown_size", "no_date", "versioned", "checksums_refused", "page_size")
    store.assert_happened("folder_markers", "empty_first_page", "path_style_refused")


@pytest.mark.parametrize(
    ("name", "region", "style", "expected_text"),
    [
        ("Garage", "us-east-1", "path", "set AWS_REGION"),
        ("Backblaze B2", "us-east-1", "path", "set AWS_REGION"),
        ("Alibaba Cloud OSS", "us-east-1", "path", "set AWS_S3_ADDRESSING_STYLE=virtual"),
    ],
)
def test_a_check_names_the_setting_for_a_store(
    stores: MakeStore,
    name: str,
    region: str,
    style: AddressingStyle,
    expected_text: str,
) -> None:
    store = stores(BY_NAME[name], style)
    report = store.check("loader", region)
    assert {each.bucket for each in report.missing} == {"media", "status"}
    assert all(expected_text in each.text for each in report.missing)
    assert store.quirks.happened["regions"] or store.quirks.happened["path_style_refused"]
