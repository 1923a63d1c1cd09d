"""Third-party objects in a real store, read through a proxy: each test is a row of the table of faults."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from moto.server import ThreadedMotoServer

from campaigns.models import Campaign
from fleet.models import Anomaly, Tail, Transfer
from fleet.reconcile.limits import Limits
from fleet.serialization import serialize_transfer
from fleet.simulation.proxy import FaultProxy
from ifeportal.live.connections import in_thread
from ifeportal.models import Airline
from loader.contract.item_reports import ERROR_LIMIT
from loader.s3.client import S3Bucket
from tests.conftest import Cast
from tests.support.html import page_html, page_text
from tests.support.live_sockets import open_socket
from tests.support.polling_world import load, rows, transfer
from tests.support.proxied_buckets import ProxiedBuckets, RewrittenBody, StoreCredentials, open_problems

pytestmark = pytest.mark.django_db
_numbers = itertools.count()

SIZES = {"a": 100, "b": 100}
NO_NUMBERS = [b"", b"abc", b"NaN", b"1e6", b"0x10", b"1_000", "\uff11\uff12".encode(), b"+5", b"5\n6"]
SCRIPT = "IO_ERROR: <script>alert('hm')</script>\"><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def lenient(moto: str) -> Iterator[ProxiedBuckets]:
    """The same with moto, which accepts every key and whose clock can be set."""
    name = f"faults-{next(_numbers)}"
    with FaultProxy(moto) as link:
        media, status = (
            S3Bucket(f"{name}-{kind}", endpoint=moto, access_key="any", secret_key="any") for kind in ("m", "s")
        )
        media.create_bucket()
        status.create_bucket()
        yield ProxiedBuckets(media, status, link, StoreCredentials("any", "any"))


@pytest.mark.parametrize("bodies", [NO_NUMBERS, [b"-5"]], ids=["no number", "negative"])
def test_progress_that_is_no_number_keeps_the_last_good_value(proxied: ProxiedBuckets, bodies: list[bytes]) -> None:
    names = [f"item-{number}" for number in range(len(bodies))]
    proxied.manifest(items=dict.fromkeys(names, 100) | {"z": 100})
    for name in names:
        proxied.progress(f"N1/2026-12/{name}", 40)
    proxied.poll()
    for name, body in zip(names, bodies, strict=True):
        proxied.progress(f"N1/2026-12/{name}", body)
    proxied.progress("N1/2026-12/z", 100)
    assert proxied.poll().anomalies == len(bodies)
    assert transfer("z").status == "complete"
    assert set(Transfer.objects.exclude(content="z").values_list("bytes_done", "unreadable")) == {(40, True)}
    assert set(open_problems().values()) == {"BAD_PROGRESS"}
    for name in names:
        proxied.progress(f"N1/2026-12/{name}", b" 55\r\n")
    assert proxied.poll().anomalies == 0
    assert set(Transfer.objects.exclude(content="z").values_list("bytes_done", "unreadable")) == {(55, False)}


def test_progress_beyond_the_size_is_capped_and_not_complete(proxied: ProxiedBuckets) -> None:
    proxied.manifest(items=SIZES)
    proxied.progress("N1/2026-12/a", 101)
    proxied.poll()
    state = serialize_transfer(transfer("a"))
    names = ("percent", "status", "oversized", "bytes_reported")
    assert [state[name] for name in names] == [100, "loading", True, 101]
    assert (load().bytes_done, load().items_done) == (100, 0)


def test_progress_that_goes_backwards_is_followed_unless_its_object_is_older(
    lenient: ProxiedBuckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [datetime.now(UTC).replace(microsecond=0)]
    monkeypatch.setattr("moto.s3.models.utcnow", lambda: clock[0].replace(tzinfo=None))
    lenient.manifest(items=SIZES)
    for value, later in ((70, 0), (30, 10)):
        clock[0] += timedelta(seconds=later)
        lenient.progress("N1/2026-12/a", value)
        lenient.poll()
    row = transfer("a")
    assert (row.bytes_done, row.restarted, row.progress_at) == (30, True, clock[0])
    clock[0] -= timedelta(seconds=60)
    lenient.progress("N1/2026-12/a", 90)
    lenient.poll()
    assert lenient.asked("N1/2026-12/a")[-1].status == 206, "the bytes of the older object did arrive"
    assert (transfer("a").bytes_done, transfer("a").progress_at) == (30, row.progress_at)
    assert open_problems() == {"ACME/N1/2026-12/a.tgz.progress": "OLDER_OBJECT"}
    before = rows()
    assert lenient.poll().get_requests == 0
    assert rows() == before


def test_five_gigabytes_of_progress_are_never_fetched(proxied: ProxiedBuckets) -> None:
    proxied.manifest(items=SIZES)
    proxied.progress("N1/2026-12/a", 40)
    proxied.poll()
    proxied.progress("N1/2026-12/a", b"7" * 5_000_000)
    proxied.progress("N1/2026-12/b", 61)
    huge = RewrittenBody(rb"<Size>5000000</Size>", rb"<Size>5368709120</Size>")
    proxied.breaks(huge, "LIST")
    before = len(proxied.asked("N1/2026-12/a"))
    result = proxied.poll()
    assert huge.count == 1
    assert len(proxied.asked("N1/2026-12/a")) == before
    assert result.bytes_received < 10_000
    assert (transfer("a").bytes_done, transfer("a").unreadable, transfer("b").bytes_done) == (40, True, 61)
    assert open_problems() == {"ACME/N1/2026-12/a.tgz.progress": "BAD_PROGRESS"}


def test_unknown_airlines_tails_and_campaigns_are_made_and_marked(
    proxied: ProxiedBuckets, cast: Cast, client: Client
) -> None:
    proxied.progress("N9/2027-01/a", 5)
    proxied.status.put("NEW/N1/c/a.tgz.progress", b"5")
    proxied.poll()
    made = (Airline.objects.get(name="NEW"), Tail.objects.get(name="N9"), Campaign.objects.get(name="2027-01"))
    assert all(row.discovered for row in made)
    client.force_login(cast.alice)
    assert client.get("/airlines/NEW/").status_code == 404
    assert "discovered" in page_text(client.get("/airlines/ACME/tails/N9/"))
    client.force_login(cast.olga)
    assert "discovered" in page_text(client.get("/airlines/NEW/"))


def test_above_the_caps_nothing_is_made_and_the_rest_goes_on(proxied: ProxiedBuckets) -> None:
    proxied.limits = Limits(airlines=2, tails=2, campaigns=2, objects=3)
    for number in range(5):
        proxied.status.put(f"A{number}/N1/c/a.tgz.progress", b"5")
        proxied.progress(f"N{number}/2026-12/a", 5)
        proxied.progress(f"N0/2027-{number}/a", 5)
        proxied.progress(f"N0/2026-12/item-{number}", 5)
    proxied.poll()
    assert list(Airline.objects.order_by("name").values_list("name", flat=True)) == ["A0", "A1"]
    Airline.objects.create(name="ACME")
    proxied.poll()
    acme = Airline.objects.get(name="ACME")
    assert (acme.tails.count(), acme.campaigns.count()) == (2, 2)
    assert load("N0").transfers.count() == 3
    problems = set(Anomaly.objects.filter(resolved_at=None).values_list("problem", flat=True))
    assert problems == {"TOO_MANY_AIRLINES", "TOO_MANY_TAILS", "TOO_MANY_CAMPAIGNS", "TOO_MANY_OBJECTS"}
    before = rows()
    proxied.poll()
    assert rows() == before


def test_without_a_manifest_there_are_bytes_but_no_percentage(
    proxied: ProxiedBuckets, cast: Cast, client: Client
) -> None:
    proxied.progress("N1/2026-12/a", 5_000_000)
    proxied.poll()
    row = transfer("a")
    assert (row.bytes_done, row.bytes_total, row.percent, load().percent) == (5_000_000, None, None, None)
    client.force_login(cast.alice)
    page = page_text(client.get("/airlines/ACME/tails/N1/"))
    assert "Loaded 5.00 MB of unknown" in page


def test_a_manifest_that_changes_midway_moves_the_totals(proxied: ProxiedBuckets) -> None:
    proxied.manifest(items={"a": 100, "b": 100}, version=1)
    proxied.progress("N1/2026-12/a", 40)
    proxied.progress("N1/2026-12/b", 40)
    proxied.poll()
    proxied.manifest(items={"a": 400, "c": 100}, version=2)
    proxied.poll()
    rows = {row.content: (row.percent, row.listed) for row in load().transfers.all()}
    assert (rows["a"], rows["b"][1]) == ((10, True), False)
    assert (load().bytes_total, load().campaign.version) == (500, 2)


def test_a_malformed_manifest_preserves_the_last_good_one_and_is_reported(
    proxied: ProxiedBuckets, cast: Cast, client: Client
) -> None:
    proxied.manifest(items={"a": 100}, version=1)
    proxied.progress("N1/2026-12/a", 40)
    proxied.poll()
    for body in (b"{", b'{"content": [{"name": "a", "size": NaN}]}', b"[" * 50_000, b"\xff\xfe"):
        proxied.media.put("ACME/2026-12/campaign.json", body)
        proxied.progress("N1/2026-12/b", 60)
        proxied.poll()
        assert (transfer("a").percent, load().campaign.version) == (40, 1)
        assert open_problems("media") == {"ACME/2026-12/campaign.json": "BAD_MANIFEST"}
    assert transfer("b").bytes_done == 60
    client.force_login(cast.alice)
    assert "The newest campaign.json was refused" in page_text(client.get("/airlines/ACME/campaigns/2026-12/"))


def test_an_error_with_a_script_is_text_wherever_it_is_shown(
    proxied: ProxiedBuckets, cast: Cast, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    proxied.manifest(items=SIZES)
    proxied.error("N1/2026-12/a", SCRIPT)
    proxied.write("N1/2026-12/campaign.json.error", SCRIPT.encode())
    proxied.poll()
    sentence = transfer("a").error
    assert sentence == SCRIPT.removeprefix("IO_ERROR: ")
    client.force_login(cast.ada)
    shown = ["/airlines/ACME/", "/airlines/ACME/tails/N1/", "/airlines/ACME/campaigns/2026-12/"]
    for address in (*shown, "/", "/admin/fleet/load/", "/admin/fleet/transfer/", "/admin/fleet/anomaly/"):
        page = page_html(client.get(address))
        assert "<script>alert" not in page, address
        assert "<img src=x" not in page, address
    assert all(sentence in page_text(client.get(address)) for address in shown)
    row = transfer("a")
    assert sentence in client.get(f"/admin/fleet/transfer/{row.pk}/change/").context["original"].error
    assert "<script>alert" not in page_html(client.get(f"/admin/fleet/transfer/{row.pk}/change/"))
    answer = client.get("/api/v1/transfers/")
    assert (answer["Content-Type"], answer["X-Content-Type-Options"]) == ("application/json", "nosniff")
    assert [each["error"] for each in answer.json()["results"] if each["content"] == "a"] == [sentence]
    assert "alert(" not in client.get("/metrics").content.decode()
    assert "alert(" not in caplog.text


@pytest.mark.django_db(transaction=True)
async def test_an_error_with_a_script_reaches_an_open_page_as_a_string(proxied: ProxiedBuckets, cast: Cast) -> None:
    async with open_socket(cast.alice) as socket:
        await socket.watch(airline="ACME", rev=0)

        def fail() -> None:
            proxied.error("N1/2026-12/a", SCRIPT)
            proxied.poll()

        await in_thread(fail)
        received_errors: set[str] = set()
        while SCRIPT.removeprefix("IO_ERROR: ") not in received_errors:
            received_errors |= {str(change["state"].get("error")) for change in await socket.changes()}


def test_an_error_of_ten_megabytes_is_read_to_four_kibibytes(
    proxied: ProxiedBuckets, cast: Cast, client: Client
) -> None:
    proxied.manifest(items=SIZES)
    proxied.error("N1/2026-12/a", b"HASH_MISMATCH: " + b"x" * 10_000_000)
    result = proxied.poll()
    (asked,) = proxied.asked("N1/2026-12/a.tgz.error")
    assert (asked.status, asked.range) == (206, f"bytes=0-{ERROR_LIMIT - 1}")
    assert result.bytes_received < 2 * ERROR_LIMIT + 4_096
    row = transfer("a")
    assert (row.status, row.error_code, row.error_cut) == ("failed", "HASH_MISMATCH", True)
    client.force_login(cast.alice)
    assert "truncated to 4 KiB" in page_text(client.get("/airlines/ACME/tails/N1/"))


def test_an_error_that_is_binary_becomes_text_every_database_takes(proxied: ProxiedBuckets) -> None:
    bodies = [b"a\x00b", b"\xff\xfe\x80", b"\x00" * 20, b"", bytes(range(256))]
    for number, body in enumerate(bodies):
        proxied.error(f"N1/2026-12/item-{number}", body)
    assert proxied.poll().failures == ()
    errors = list(Transfer.objects.order_by("content").values_list("error", "status"))
    assert [status for _, status in errors] == ["failed"] * len(bodies)
    assert not re.search("[\x00-\x08\x0e-\x1f]", "".join(error for error, _ in errors))
    assert "\N{REPLACEMENT CHARACTER}" in errors[1][0]


def test_of_error_and_whole_progress_the_newer_wins(lenient: ProxiedBuckets, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [datetime.now(UTC).replace(microsecond=0)]
    monkeypatch.setattr("moto.s3.models.utcnow", lambda: clock[0].replace(tzinfo=None))
    lenient.manifest(items=SIZES)
    lenient.error("N1/2026-12/a", "IO_ERROR: x")
    lenient.progress("N1/2026-12/b", 100)
    clock[0] += timedelta(seconds=5)
    lenient.progress("N1/2026-12/a", 100)
    lenient.error("N1/2026-12/b", "IO_ERROR: x")
    lenient.poll()
    assert (transfer("a").status, transfer("a").error_past, transfer("a").error) == ("complete", True, "x")
    assert (transfer("b").status, transfer("b").error_past) == ("failed", False)


HOSTILE_KEYS = [
    "ACME/N1/2026-12/../a.tgz.progress",
    "ACME/N1//a.tgz.progress",
    "ACME/N1/2026-12/a-LINE-b.tgz.progress",  # see below
    "ACME/N1/2026-12/%2e%2e/a.tgz.progress",
    "ACME/N1/2026-12/" + "x" * (1_024 - 29) + ".tgz.progress",
    "ACME/N1/2026-12/a\u202eb.tgz.progress",
    "ACME/ N1/2026-12/a.tgz.progress",
    "ACME/N1/2026-12/<b>&amp;.tgz.progres",
]


def test_hostile_keys_are_reported_and_create_no_row(lenient: ProxiedBuckets) -> None:
    lenient.manifest(items=SIZES)
    for key in HOSTILE_KEYS:
        lenient.status.put(key, b"1")
    lenient.progress("N1/2026-12/a", 50)
    line = RewrittenBody(b"-LINE-", b"%0A")  # moto lists such a key but takes none
    lenient.breaks(line, "LIST")
    result = lenient.poll()
    assert line.count == 1
    listed = {info.key for info in lenient.proxied_status.list()}
    assert listed >= {key.replace("-LINE-", "\n") for key in HOSTILE_KEYS}, "the store has them"
    assert result.failures == ()
    assert result.anomalies == len(open_problems()) == len(HOSTILE_KEYS)
    assert set(open_problems().values()) == {"BAD_NAME"}
    assert [row.name for row in Tail.objects.all()] == ["N1"]
    assert transfer("a").bytes_done == 50
    assert set(Transfer.objects.values_list("content", flat=True)) == {"a", "b"}
