"""The real command against stores that differ from AWS: a proxy makes the difference and counts it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from fleet.simulation.faults import ErrorResponse, Fault, Head, Rule, Truncate
from fleet.simulation.proxy import FaultProxy
from loader.contract.keys import content_key
from tests.support.aircraft import AIRLINE, TAIL, Aircraft, Run, publish
from tests.support.fork_server import ForkServer
from tests.support.portal_system import wait_until
from tests.support.proxied_buckets import RewrittenBody

pytestmark = pytest.mark.processes

BODY = os.urandom(1_500_000)


@dataclass
class ChangedHeader(Fault):
    """One text in a header of the store's response is another one. `hits` counts the responses that had it."""

    name: str
    text: str
    to: str
    hits: int = 0

    def head(self, head: Head) -> None:
        value = head.find(self.name)
        if self.text in value:
            head.drop(self.name)
            head.headers[self.name] = value.replace(self.text, self.to, 1)
            self.hits += 1


def load(fork_server: ForkServer, aircraft: Aircraft, without: tuple[str, ...] = (), **more: str) -> Run:
    environment: Mapping[str, str] = {
        name: value for name, value in aircraft.environment(**more).items() if name not in without
    }
    return fork_server.start(environment, "--once").end()


def test_an_item_is_not_fetched_again_because_listings_have_other_etags(
    aircraft: Aircraft, link: FaultProxy, fork_server: ForkServer
) -> None:
    publish(aircraft.media, "c", {"b": BODY, "missing": b"x"}, hashed=False)
    aircraft.media.delete(content_key(AIRLINE, "c", "missing"))
    other = RewrittenBody(rb"<ETag>(&#34;)", rb"<ETag>\g<1>0x8D")
    link.add(Rule(other, "LIST", times=None))
    loader = fork_server.start(aircraft.environment(), "--poll-interval", "100ms")
    wait_until(lambda: len(link.requests("GET", "*/campaign.json")) >= 8)
    loader.send(signal.SIGTERM)
    loader.end()
    assert other.count >= 5
    assert aircraft.path("c", "b").read_bytes() == BODY
    assert len(link.requests("GET", "*/b.tgz")) == 1


@pytest.mark.parametrize("hashed", [True, False])
def test_a_download_with_weak_etags_resumes(
    hashed: bool, aircraft: Aircraft, link: FaultProxy, fork_server: ForkServer
) -> None:
    publish(aircraft.media, "c", {"a": BODY}, hashed=hashed)
    weak = ChangedHeader("ETag", '"', 'W/"')
    link.add(Rule(weak, "*", times=None))
    cut = link.add(Rule(Truncate(after=400_000), key="*/a.tgz", times=3))
    assert load(fork_server, aircraft).code == 0
    assert (cut.hits, weak.hits > 5) == (3, True)
    assert aircraft.path("c", "a").read_bytes() == BODY
    starts = [request.range for request in link.requests("GET", "*/a.tgz")]
    assert starts == ["", "bytes=400000-", "bytes=800000-", "bytes=1200000-"]
    assert [request.path for request in link.log if request.if_match] == []
    assert aircraft.heartbeat().extra["ended"] is True


def test_a_download_resumes_where_sizes_are_unknown(
    aircraft: Aircraft, link: FaultProxy, fork_server: ForkServer
) -> None:
    publish(aircraft.media, "c", {"a": BODY})
    unknown = ChangedHeader("Content-Range", f"/{len(BODY)}", "/*")
    link.add(Rule(unknown, key="*/a.tgz", times=None))
    link.add(Rule(Truncate(after=400_000), key="*/a.tgz"))
    assert load(fork_server, aircraft).code == 0
    assert unknown.hits == 1
    assert aircraft.path("c", "a").read_bytes() == BODY
    assert [request.range for request in link.requests("GET", "*/a.tgz")] == ["", "bytes=400000-"]


@pytest.mark.parametrize(
    "refused",
    [
        Rule(ErrorResponse(412, "PreconditionFailed"), "PUT", "*/loader.json", nth=2, times=4),
        Rule(ErrorResponse(501, "NotImplemented"), "PUT", "*/loader.json"),
        Rule(ErrorResponse(400, "InvalidArgument"), "PUT", "*/loader.json"),
    ],
    ids=["412 for our own object", "501", "400"],
)
def test_heartbeats_go_on_where_conditions_are_refused(
    refused: Rule, aircraft: Aircraft, link: FaultProxy, fork_server: ForkServer
) -> None:
    publish(aircraft.media, "c", {"a": b"content"})
    rule = link.add(refused)
    run = load(fork_server, aircraft)
    assert run.code == 0
    assert rule.hits == rule.times
    assert ["does not support conditional writes" in str(event["text"]) for event in run.of("lease")] == [True]
    assert aircraft.heartbeat().extra["ended"] is True
    assert aircraft.progress("c") == {"a": 7}


@pytest.mark.parametrize("key", ["*/campaign.json", "*/a.tgz"])
@pytest.mark.parametrize("answer", [425, 520, 530])
def test_passing_trouble_of_a_proxy_fails_nothing(
    answer: int, key: str, aircraft: Aircraft, link: FaultProxy, fork_server: ForkServer
) -> None:
    publish(aircraft.media, "c", {"a": b"content"})
    rule = link.add(Rule(ErrorResponse(answer), key=key))
    assert load(fork_server, aircraft).code == 0
    assert rule.hits == 1
    assert aircraft.path("c", "a").read_bytes() == b"content"
    assert aircraft.errors() == {}


def test_an_archived_object_is_reported_as_one(aircraft: Aircraft, link: FaultProxy, fork_server: ForkServer) -> None:
    publish(aircraft.media, "c", {"archived": BODY, "other": b"content"})
    rule = link.add(Rule(ErrorResponse(403, "InvalidObjectState"), key="*/archived.tgz", times=None))
    assert load(fork_server, aircraft).code == 1
    assert rule.hits == 1
    assert aircraft.path("c", "other").read_bytes() == b"content"
    assert aircraft.errors()["archived"].startswith("ARCHIVED: GET ACME/c/archived.tgz: the object is archived")
    link.rules.clear()
    assert load(fork_server, aircraft).code == 0
    assert aircraft.errors() == {}


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (ErrorResponse(403, "SecondLevelDomainForbidden"), "set AWS_S3_ADDRESSING_STYLE=virtual"),
        (
            ErrorResponse(301, "PermanentRedirect", headers={"x-amz-bucket-region": "eu-west-1"}),
            "set AWS_REGION=eu-west-1",
        ),
    ],
)
def test_the_error_for_a_wrong_store_address_names_the_setting(
    fault: ErrorResponse, advice: str, aircraft: Aircraft, link: FaultProxy, fork_server: ForkServer
) -> None:
    rule = link.add(Rule(fault, "*", times=None))
    run = load(fork_server, aircraft, LOADER_REPORT_TIMEOUT="500ms")
    assert run.code != 0
    assert rule.hits
    assert any(advice in str(event["text"]) and event.get("code") == "WRONG_ENDPOINT" for event in run.events)


def test_a_plus_sign_that_is_listed_as_it_is_hides_no_campaign(
    aircraft: Aircraft, link: FaultProxy, fork_server: ForkServer
) -> None:
    publish(aircraft.media, "dec+jan", {"a+b": BODY}, hashed=False)
    plus = RewrittenBody(rb"%2B", rb"+")
    link.add(Rule(plus, "LIST", times=None))
    assert load(fork_server, aircraft).code == 0
    assert plus.count >= 2
    assert aircraft.path("dec+jan", "a+b").read_bytes() == BODY
    assert aircraft.progress("dec+jan") == {"a+b": len(BODY)}


def test_listings_without_etags_and_with_odd_counts_stop_nothing(
    aircraft: Aircraft, link: FaultProxy, fork_server: ForkServer
) -> None:
    publish(aircraft.media, "c", {"a": BODY}, hashed=False)
    etags, counts = RewrittenBody(rb"<ETag>[^/]*</ETag>", b""), RewrittenBody(rb"<KeyCount>\d+", b"<KeyCount>50493")
    for fault in (etags, counts):
        link.add(Rule(fault, "LIST", times=None))
    assert load(fork_server, aircraft).code == 0
    assert load(fork_server, aircraft).code == 0
    assert (etags.count > 0, counts.count > 0) == (True, True)
    assert aircraft.path("c", "a").read_bytes() == BODY
    assert len(link.requests("GET", "*/a.tgz")) == 1


def test_everything_may_come_from_a_profile(aircraft: Aircraft, link: FaultProxy, fork_server: ForkServer) -> None:
    publish(aircraft.media, "c", {"a": b"content"})
    aircraft.folder.parent.joinpath("config").write_text(
        f"[profile crew]\nregion = garage\nendpoint_url = {link.endpoint}\n"
        f"aws_access_key_id = {aircraft.keys['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {aircraft.keys['AWS_SECRET_ACCESS_KEY']}\n"
    )
    path = str(aircraft.folder.parent / "config")
    files = {"AWS_CONFIG_FILE": path, "AWS_SHARED_CREDENTIALS_FILE": f"{path}-none"}
    without = (*aircraft.keys, "AWS_ENDPOINT_URL_S3")
    assert load(fork_server, aircraft, without, AWS_PROFILE="crew", **files).code == 0
    assert aircraft.path("c", "a").read_bytes() == b"content"
    assert link.requests("GET", f"*/{AIRLINE}/.fleet/{TAIL}.json")
