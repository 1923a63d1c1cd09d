"""The checks of a store: harmless, bounded, repeated where that helps, and clear about what is missing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from fleet.simulation.faults import DropHeader, ErrorResponse, Fault, Hang, Head, Request, Rule, Truncate
from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.s3.check.findings import Finding, Outcome, StoreReport
from loader.s3.check.plan import BucketPlan, Budget
from loader.s3.check.runner import check_store
from loader.s3.client import S3Bucket
from loader.s3.cors import upload_rule
from tests.support.portal_system import wait_until
from tests.support.proxied_buckets import RewrittenBody

SCRATCH = "ACME/N1/.check/"
PLAN = BucketPlan("status", "ACME/N1/", scratch=SCRATCH, must_write=True, multipart=True)


@dataclass
class Checked:
    """A bucket of a real store, checked through a proxy. Waits between attempts are recorded, not made."""

    link: FaultProxy
    bucket: S3Bucket
    seaweed: SeaweedFS
    waits: list[float] = field(default_factory=list)
    read_timeout: float = 20.0
    on_wait: Callable[[float], object] = lambda seconds: None

    def run(self, plan: BucketPlan = PLAN, budget: Budget | None = None, name: str = "") -> StoreReport:
        through = S3Bucket(
            name or self.bucket.name,
            endpoint=self.link.endpoint,
            access_key=self.seaweed.access_key,
            secret_key=self.seaweed.secret_key,
            read_timeout=self.read_timeout,
            sleep=self._sleep,
        )
        return check_store("loader", [(through, plan)], budget or Budget())

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.on_wait(seconds)

    def breaks(self, fault: Fault, method: str, key: str = "*", times: int | None = None) -> Rule:
        return self.link.add(Rule(fault, method, key, times=times))

    def left(self) -> list[str]:
        return [info.key for info in self.bucket.list() if "/.check/" in info.key]


@dataclass
class Only(ErrorResponse):
    """Refuses requests of one check: by a part of their query and of the key of their test object."""

    query: str = ""
    check: str = ""

    def __init__(self, query: str, check: str) -> None:
        super().__init__(403, "AccessDenied")
        self.query, self.check = query, check

    def for_request(self, request: Request) -> Fault:
        key = {"multipart": "parts", "copy": "copied", "uploads": "unfinished", "abort": "aborted"}[self.check]
        return self if self.query in request.target and key in request.target else Fault()


def found(report: StoreReport, check: str) -> Finding:
    return next(each for each in report.findings if each.check == check)


@pytest.fixture
def checked(seaweed: SeaweedFS, status: S3Bucket) -> Iterator[Checked]:
    for name in "ab":
        status.put(f"ACME/N1/dec/{name}.tgz.progress", b"700000")
    with FaultProxy(seaweed.endpoint) as link:
        yield Checked(link, status, seaweed)


def test_a_good_store_has_everything_and_nothing_is_left_behind(checked: Checked) -> None:
    before = [info.key for info in checked.bucket.list()]
    report = checked.run()
    assert {each.outcome for each in report.findings} == {Outcome.OK}
    assert [info.key for info in checked.bucket.list()] == before
    written = {logged.path for logged in checked.link.log if logged.method in ("PUT", "POST", "DELETE")}
    assert all(path.startswith(f"{checked.bucket.name}/{SCRATCH}") for path in written)
    assert list(report.lines())[-1] == "The stores have everything that the loader needs."


def test_a_report_as_json_has_a_row_for_each_check(checked: Checked) -> None:
    report = checked.run()
    document = json.loads(json.dumps(report.as_json()))
    assert (document["user"], document["ok"], document["complete"]) == ("loader", True, True)
    assert [row["check"] for row in document["findings"]] == [each.check for each in report.findings]
    assert {*document["findings"][0]} == {"bucket", "check", "outcome", "text", "meaning"}


@pytest.mark.parametrize("method", ["LIST", "GET", "PUT", "POST", "DELETE", "HEAD"])
def test_passing_trouble_is_no_finding(checked: Checked, method: str) -> None:
    busy = checked.breaks(ErrorResponse(503, "SlowDown"), method, times=2)
    report = checked.run()
    assert busy.hits == 2
    assert len(checked.waits) == 2
    assert {each.outcome for each in report.findings} == {Outcome.OK}
    assert checked.left() == []


def test_a_right_that_is_missing_is_named_with_what_it_means(checked: Checked) -> None:
    refused = checked.breaks(ErrorResponse(403, "AccessDenied"), "PUT")
    report = checked.run()
    put = found(report, "put")
    assert refused.hits == 1
    assert put.outcome == Outcome.MISSING
    assert "access denied (403 AccessDenied). Grant the right to these credentials." in put.text
    assert found(report, "create").outcome == Outcome.SKIPPED
    assert list(report.lines())[-1] == "1 thing that the loader needs is missing."


def test_nothing_is_written_without_delete_permission(checked: Checked) -> None:
    refused = checked.breaks(ErrorResponse(403, "AccessDenied"), "DELETE")
    report = checked.run()
    assert refused.hits == 1
    assert found(report, "delete").outcome == Outcome.MISSING
    assert found(report, "put").text == "Not tested, because 'delete' failed."
    assert checked.link.requests("PUT") == []
    assert found(report, "clean-up").outcome == Outcome.OK


def test_a_right_that_is_not_needed_is_no_fault(checked: Checked) -> None:
    plan = BucketPlan("media", "ACME/", scratch="ACME/.check/", multipart=True)
    checked.breaks(ErrorResponse(403, "AccessDenied"), "DELETE")
    report = checked.run(plan)
    assert report.missing == []
    assert found(report, "delete").meaning == "Campaigns cannot be published with these credentials."


@pytest.mark.parametrize(
    ("check", "method", "query", "meaning"),
    [
        ("multipart", "POST", "uploads=", "s3:PutObject and s3:ListMultipartUploadParts"),
        ("copy", "PUT", "partNumber=1", "s3:GetObject and s3:PutObject"),
        ("uploads", "GET", "uploads=", "s3:ListBucketMultipartUploads"),
        ("abort", "DELETE", "uploadId=", "s3:AbortMultipartUpload"),
    ],
)
def test_a_right_of_uploads_that_is_missing_is_named(
    checked: Checked, check: str, method: str, query: str, meaning: str
) -> None:
    refused = checked.breaks(Only(query, check), method)
    report = checked.run(replace(PLAN, must_write=False))
    assert refused.hits
    assert found(report, check).outcome == Outcome.WARNING
    assert "access denied (403 AccessDenied)" in found(report, check).text
    assert found(report, check).meaning.endswith(f"Grant {meaning}.")


def test_a_site_that_may_not_upload_is_named_and_permitted(checked: Checked) -> None:
    plan = replace(PLAN, origin="https://ife.example.org")
    assert "Set MEDIA_PUBLIC_URL to an https:// address." in found(checked.run(plan), "cors").meaning
    plan = replace(PLAN, origin="http://ife.example.org")
    checked.bucket.put_cors([upload_rule(["http://other.example.org"])])
    refused = found(checked.run(plan), "cors")
    assert (refused.outcome, "--fix-cors" in refused.meaning) == (Outcome.WARNING, True)
    checked.bucket.put_cors([replace(upload_rule([plan.origin]), exposed=())])
    assert "does not show the ETag" in found(checked.run(plan), "cors").text
    checked.bucket.put_cors([upload_rule([plan.origin])])
    report = checked.run(plan)
    assert {each.outcome for each in report.findings} == {Outcome.OK}
    assert checked.left() == []


def test_a_bucket_that_is_missing_is_named(checked: Checked) -> None:
    report = checked.run(name="no-such-bucket")
    listing = found(report, "list")
    assert listing.outcome == Outcome.MISSING
    assert "'no-such-bucket' does not exist. Create the bucket, or correct its name." in listing.text
    assert [each.check for each in report.findings] == ["address", "list", "others"]


def test_a_page_of_a_captive_portal_is_no_listing(checked: Checked) -> None:
    foreign = checked.breaks(RewrittenBody(rb"(?s).*", b"<html>Sign in</html>"), "LIST")
    report = checked.run()
    assert foreign.hits
    assert "the response is not a listing" in found(report, "list").text
    assert len(report.missing) == 1


def test_a_store_that_never_answers_costs_a_bounded_time(checked: Checked) -> None:
    checked.read_timeout = 0.1
    hung = checked.breaks(Hang(), "*")
    report = checked.run()
    wait_until(lambda: hung.hits == 4)  # the last one may be on its way
    assert "did not respond in time" in found(report, "list").text


def test_no_check_starts_after_the_time_limit(checked: Checked) -> None:
    times = iter(range(0, 10_000, 20))
    report = checked.run(budget=Budget(clock=lambda: float(next(times)), started=0.0))
    outcomes = [each.outcome for each in report.findings]
    assert outcomes[:3] == [Outcome.OK] * 3
    assert found(report, "head").text == "Not tested: the time limit was reached."
    assert not report.is_complete
    assert list(report.lines())[-1] == "The check was not completed. Everything tested until then works."


class Stopping(Fault):
    """Sets an event when a request passes."""

    def __init__(self) -> None:
        self.stop = threading.Event()

    def for_request(self, request: Request) -> Fault:
        self.stop.set()
        return self


def test_a_check_that_is_stopped_deletes_what_it_wrote(checked: Checked) -> None:
    stopping = Stopping()
    stopped = checked.breaks(stopping, "PUT", "*/new")
    report = checked.run(budget=Budget(stopping.stop))
    assert stopped.hits == 1
    assert found(report, "replace").text == "Not tested: the check was stopped."
    assert found(report, "clean-up").outcome == Outcome.OK
    assert checked.left() == []


def test_an_interrupt_leaves_nothing_behind(checked: Checked) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    checked.on_wait = interrupt
    busy = checked.breaks(ErrorResponse(503, "SlowDown"), "PUT", "*/replaced", times=1)
    with pytest.raises(KeyboardInterrupt):
        checked.run()
    assert busy.hits == 1
    assert len(checked.link.requests("PUT")) >= 3
    assert checked.left() == []


def test_objects_that_cannot_be_deleted_are_named(checked: Checked) -> None:
    refused = checked.breaks(ErrorResponse(403, "AccessDenied"), "DELETE", "*/new")
    report = checked.run()
    assert refused.hits == 1
    cleaned = found(report, "clean-up")
    assert cleaned.outcome == Outcome.WARNING
    assert cleaned.text.startswith(f"Test objects could not be deleted (1). Delete {SCRATCH}")
    assert len(checked.left()) == 1


def test_objects_of_a_check_that_was_killed_are_deleted_by_the_next(checked: Checked) -> None:
    checked.bucket.put(f"{SCRATCH}0123/new", b"left behind")
    report = checked.run()
    assert checked.left() == [f"{SCRATCH}0123/new"], "a check may be running now"
    old = RewrittenBody(rb"<LastModified>[^<]*<", b"<LastModified>2026-01-01T00:00:00Z<")
    checked.breaks(old, "LIST")
    report = checked.run()
    assert old.count
    assert checked.left() == []
    assert report.missing == []


def test_missing_store_features_are_named(checked: Checked) -> None:
    checked.breaks(DropHeader("ETag"), "GET")
    checked.breaks(DropHeader("ETag"), "HEAD")
    checked.breaks(DropHeader("Date"), "*")
    report = checked.run()
    assert found(report, "etags").text == "Objects have no ETag."
    assert found(report, "head").text == "HEAD sends no ETag."
    assert found(report, "clock").text == "The store does not send its time."


@dataclass
class Clock(Fault):
    """The store's clock shows another time."""

    date: str

    def head(self, head: Head) -> None:
        head.drop("Date")
        head.headers["Date"] = self.date


def test_a_clock_that_is_wrong_is_named_with_its_difference(checked: Checked) -> None:
    checked.breaks(Clock("Mon, 30 Nov 2020 12:00:00 GMT"), "*")
    clock = found(checked.run(), "clock")
    assert clock.outcome == Outcome.MISSING
    assert "ahead of that of the store." in clock.text
    assert "Set the clock." in clock.meaning


class WebServer(Fault):
    """Answers every read of an object like a server without ranges and conditions."""

    async def answer(self) -> tuple[Head, bytes]:
        return Head(200, {"ETag": '"x"', "Content-Type": "text/plain"}, 6), b"700000"


def test_a_store_without_ranges_and_conditions_is_detected(checked: Checked) -> None:
    simple = checked.breaks(WebServer(), "GET")
    report = checked.run()
    assert simple.hits
    assert found(report, "get").text == "Objects can be read, but the store ignores ranges."
    assert found(report, "if-match").text == "The store ignores If-Match when objects are read."


def test_a_store_that_delivers_late_is_named(checked: Checked) -> None:
    late = checked.breaks(ErrorResponse(404, "NoSuchKey"), "GET", f"*/{SCRATCH}*")
    report = checked.run()
    assert late.hits
    assert found(report, "read-back").text == "An object that was just written is not read back."


def test_a_listing_that_repeats_its_first_page_is_named(checked: Checked) -> None:
    same = checked.breaks(RewrittenBody(rb"dec/[ab]\.tgz", b"dec/a.tgz"), "LIST")
    report = checked.run()
    assert same.hits
    assert found(report, "pages").text == "The second page of a listing does not continue the first."


def test_a_body_that_is_cut_is_no_listing(checked: Checked) -> None:
    cut = checked.breaks(Truncate(after=150, lie=True), "LIST")
    assert found(checked.run(), "list").outcome == Outcome.MISSING
    assert cut.hits


def test_a_warning_is_counted_in_the_summary() -> None:
    report = StoreReport(
        "portal",
        [
            Finding("media", "create", Outcome.WARNING, "It ignores If-None-Match.", "Two may overwrite each other."),
            Finding("media", "put", Outcome.OK, "Objects can be written."),
        ],
    )
    assert list(report.lines()) == [
        "warning  media   create       It ignores If-None-Match. Two may overwrite each other.",
        "ok       media   put          Objects can be written.",
        "The stores have everything that the portal needs. 1 thing works with limitations.",
    ]
