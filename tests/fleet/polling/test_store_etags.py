"""Listings with other ETags than GETs, without ETags or without dates: unchanged objects are not fetched again."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from fleet.models import Transfer
from fleet.simulation.faults import Rule
from tests.support.polling_world import transfer
from tests.support.portal_system import wait_for
from tests.support.proxied_buckets import ProxiedBuckets, RewrittenBody, open_problems

pytestmark = pytest.mark.django_db

NAMES = [f"item-{number}" for number in range(10)]
QUOTE = rb"(?:\"|&quot;|&#34;)?"
ETAG = rb"<ETag>" + QUOTE + rb"([0-9a-f]{32}(?:-[0-9]+)?)" + QUOTE + rb"</ETag>"
YEAR_1 = (rb"<LastModified>[^<]*</LastModified>", b"<LastModified>0001-01-01T00:00:00Z</LastModified>")
OPAQUE = (ETAG, rb"<ETag>&quot;0x8D\1-1&quot;</ETag>")
Rewrite = tuple[bytes, bytes | Callable[[re.Match[bytes]], bytes]]


def in_capitals(found: re.Match[bytes]) -> bytes:
    return b"<ETag>&quot;" + found[1].upper() + b"&quot;</ETag>"


LISTINGS: dict[str, list[Rewrite]] = {
    "opaque": [OPAQUE],
    "in capitals": [(ETAG, in_capitals)],
    "weak": [(ETAG, rb"<ETag>W/&quot;\1&quot;</ETag>")],
    "unquoted": [(ETAG, rb"<ETag>0x\1</ETag>")],
    "of year 1": [YEAR_1],
    "opaque and of year 1": [OPAQUE, YEAR_1],
}
WITHOUT_ETAG: dict[str, list[Rewrite]] = {"cut out": [(ETAG, b"")], "empty": [(ETAG, b"<ETag/>")]}


def rewrite_listings(proxied: ProxiedBuckets, rewrites: list[Rewrite]) -> list[RewrittenBody]:
    """Rewrite the listings of both buckets."""
    faults = [RewrittenBody(*each) for each in rewrites]
    for fault in faults:
        for bucket in (proxied.media, proxied.status):
            proxied.link.add(Rule(fault, "LIST", bucket.name, times=None))
    return faults


def write_objects(proxied: ProxiedBuckets) -> None:
    proxied.manifest(items=dict.fromkeys(NAMES, 100))
    for name in NAMES:
        proxied.progress(f"N1/2026-12/{name}", 40)
    proxied.status.put("ACME/N1/", b"")


@pytest.mark.parametrize("kind", LISTINGS)
def test_a_poll_without_changes_sends_no_get_for_any_listing_format(proxied: ProxiedBuckets, kind: str) -> None:
    write_objects(proxied)
    faults = rewrite_listings(proxied, LISTINGS[kind])
    first = proxied.poll()
    assert all(fault.count >= 11 for fault in faults), "the listings were rewritten"
    assert (first.get_requests, first.failures, first.anomalies) == (11, (), 0)
    assert set(Transfer.objects.values_list("bytes_done", flat=True)) == {40}
    again = proxied.poll()
    assert (again.get_requests, again.objects_changed) == (0, 0)
    proxied.progress("N1/2026-12/item-3", 99)
    proxied.manifest(items=dict.fromkeys(NAMES, 200))
    wait_for("the change", lambda: proxied.poll().get_requests == 0)
    assert (transfer("item-3").bytes_done, transfer("item-4").bytes_total) == (99, 200)
    assert open_problems() == open_problems("media") == {}


@pytest.mark.parametrize("kind", WITHOUT_ETAG)
def test_a_listing_without_etags_is_read_by_size_and_date(proxied: ProxiedBuckets, kind: str) -> None:
    write_objects(proxied)
    (fault,) = rewrite_listings(proxied, WITHOUT_ETAG[kind])
    first = proxied.poll()
    assert fault.count >= 11, "the listings were rewritten"
    assert (first.get_requests, first.failures, first.anomalies) == (11, (), 0)
    assert set(Transfer.objects.values_list("bytes_done", flat=True)) == {40}
    wait_for("a poll without a GET", lambda: proxied.poll().get_requests == 0)
    proxied.progress("N1/2026-12/item-3", 100)
    assert proxied.poll().get_requests == 1
    assert transfer("item-3").status == "complete"
    assert open_problems() == open_problems("media") == {}


def test_a_listing_with_neither_etags_nor_dates_reports_each_object_and_reads_the_rest(proxied: ProxiedBuckets) -> None:
    proxied.progress("N1/2026-12/a", 40)
    proxied.progress("N1/2026-12/b", 41)
    one = rb"(<Key>ACME/N1/2026-12/a[^<]*</Key>(?:(?!</Contents>).)*?)"
    rewrite_listings(proxied, [(one + ETAG, rb"\1"), (one + YEAR_1[0], rb"\1" + YEAR_1[1])])
    assert proxied.poll().failures == ()
    assert open_problems() == {"ACME/N1/2026-12/a.tgz.progress": "NO_ETAG"}
    assert [(row.content, row.bytes_done) for row in Transfer.objects.all()] == [("b", 41)]
