"""The policy of `manage.py tail_policy` is enough for a complete load and for nothing else. SeaweedFS enforces it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from campaigns.publishing.folder_publisher import publish_folder
from campaigns.signing.manifest_signature import sign_campaign
from campaigns.signing.private_keys import new_key, public_hex
from fleet.iam_policy import iam_policy, seaweedfs_identity
from fleet.simulation.faults import FlipByte, Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.contract.keys import heartbeat_key, manifest_key, queue_key, queue_signature_key, signature_key
from loader.contract.transfer_queue import TransferQueue, build_transfer_queue
from loader.errors import BadName, WorldError
from loader.s3.client import S3Bucket
from tests.support.aircraft import AIRLINE, TAIL, Aircraft
from tests.support.fork_server import ForkServer

MEDIA, STATUS, CAMPAIGN = "ife-media", "ife-status", "2026-12"
OTHER = "D-OTHER"
DOCUMENT = Path(__file__).resolve().parents[3] / "docs/loader.md"
POLICY_SCOPE = (AIRLINE, TAIL, MEDIA, STATUS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """Start a store that grants this tail exactly the policy; the buckets belong to the admin."""
    with SeaweedFS(tmp_path_factory.mktemp("strict"), identities=[seaweedfs_identity(*POLICY_SCOPE)]) as server:
        for name in (MEDIA, STATUS):
            server.create_bucket(name)
        yield server


def as_tail(store: SeaweedFS, bucket: str) -> S3Bucket:
    keys = store.environment(TAIL)
    return S3Bucket(
        bucket, endpoint=store.endpoint, access_key=keys["AWS_ACCESS_KEY_ID"], secret_key=keys["AWS_SECRET_ACCESS_KEY"]
    )


def code(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except WorldError as error:
        return error.code
    return "allowed"


def test_a_whole_load_needs_no_more(store: SeaweedFS, tmp_path: Path, fork_server: ForkServer) -> None:
    media, status = store.bucket(MEDIA), store.bucket(STATUS)
    films = tmp_path / "films"
    films.mkdir()
    for name in ("one", "two"):
        (films / f"{name}.tgz").write_bytes(os.urandom(300_000))
    publish_folder(films, AIRLINE, CAMPAIGN, media)
    root, signer = (new_key(tmp_path / name) for name in ("root", "signer"))
    trust_options = ["--airline", AIRLINE, "--signer", public_hex(signer), "--root", str(tmp_path / "root")]
    call_command("trust_keys", "trust", str(tmp_path / "trust.json"), *trust_options, stdout=StringIO())
    sign_campaign(AIRLINE, CAMPAIGN, media, [signer], now=datetime.now(UTC))
    media.put(queue_key(AIRLINE, TAIL), build_transfer_queue(TransferQueue(version=1)))
    assert public_hex(root) != public_hex(signer)

    with FaultProxy(store.endpoint) as link:
        flaw = link.add(Rule(FlipByte(at=1000), key="*/two.tgz", times=None))
        trusting = {"LOADER_SIGNATURES": "enforce", "LOADER_TRUSTED_KEYS": str(tmp_path / "trust.json")}
        keys = store.environment(TAIL)
        aircraft = Aircraft(
            tmp_path / "content", link.endpoint, keys, media, status, trusting, starter=fork_server.popen
        )
        (tmp_path / "content").mkdir()
        first = aircraft.load()
        assert first.code == 1
        assert flaw.hits >= 1
        assert set(aircraft.errors()) == {"two"}
        link.rules.remove(flaw)
        # The loader reads the heartbeat back when it finds another one than it wrote.
        beat = status.get(heartbeat_key(AIRLINE, TAIL), 100_000)
        assert beat
        status.put(heartbeat_key(AIRLINE, TAIL), beat.body + b"\n")
        second = aircraft.load()

    assert second.code == 0, second
    assert aircraft.errors() == {}
    assert aircraft.progress(CAMPAIGN) == {"one": 300_000, "two": 300_000}
    answers = {(request.method, request.path): request.status for request in link.log}
    for bucket, key in (
        (MEDIA, queue_key(AIRLINE, TAIL)),
        (MEDIA, signature_key(AIRLINE, CAMPAIGN)),
        (STATUS, heartbeat_key(AIRLINE, TAIL)),
    ):
        assert answers["GET", f"{bucket}/{key}"] in (200, 206, 304), key
    assert {request.method for request in link.log} == {"LIST", "GET", "PUT", "DELETE"}
    assert [request for request in link.log if request.status == 403] == []


def test_access_to_foreign_objects_is_refused(store: SeaweedFS) -> None:
    media, status = store.bucket(MEDIA), store.bucket(STATUS)
    foreign = {
        media: (
            "BETA/c/film.tgz",
            manifest_key("BETA", "c"),
            f"{AIRLINE}/notes.txt",
            queue_key(AIRLINE, OTHER),
            queue_signature_key(AIRLINE, OTHER),
        ),
        status: (heartbeat_key(AIRLINE, OTHER), f"{AIRLINE}/{TAIL}0/c/film.tgz.progress"),
    }
    for bucket, keys in foreign.items():
        for key in keys:
            bucket.put(key, b"{}")
    # The name of another tail may start with that of this one's queue.
    media.put(queue_key(AIRLINE, f"{TAIL}.json"), b"{}")
    mine, reports = as_tail(store, MEDIA), as_tail(store, STATUS)
    attempts: dict[str, Callable[[], object]] = {
        "another airline's content": lambda: mine.get("BETA/c/film.tgz", 9),
        "another airline's manifest": lambda: mine.get(manifest_key("BETA", "c"), 9),
        "another airline's campaigns": lambda: mine.list_prefixes("BETA/"),
        "the whole media bucket": lambda: list(mine.list()),
        "all airlines": lambda: mine.list_prefixes(),
        "another tail's signed queue": lambda: mine.get(queue_signature_key(AIRLINE, OTHER), 9),
        "another tail's queue": lambda: mine.get(queue_key(AIRLINE, OTHER), 9),
        "a queue whose name begins alike": lambda: mine.get(queue_key(AIRLINE, f"{TAIL}.json"), 9),
        "what is no part of a campaign": lambda: mine.get(f"{AIRLINE}/notes.txt", 9),
        "writing content": lambda: mine.put(f"{AIRLINE}/{CAMPAIGN}/one.tgz", b"x"),
        "writing a manifest": lambda: mine.put(manifest_key(AIRLINE, CAMPAIGN), b"{}"),
        "writing its own queue": lambda: mine.put(queue_key(AIRLINE, TAIL), b"{}"),
        "removing content": lambda: mine.delete(f"{AIRLINE}/{CAMPAIGN}/one.tgz"),
        "another tail's heartbeat": lambda: reports.get(heartbeat_key(AIRLINE, OTHER), 9),
        "writing another tail's": lambda: reports.put(heartbeat_key(AIRLINE, OTHER), b"{}"),
        "removing another tail's": lambda: reports.delete(heartbeat_key(AIRLINE, OTHER)),
        "a tail whose name begins alike": lambda: reports.put(f"{AIRLINE}/{TAIL}0/c/film.tgz.progress", b"1"),
        "listing another tail's reports": lambda: list(reports.list(f"{AIRLINE}/{OTHER}/")),
        "the whole status bucket": lambda: list(reports.list()),
    }
    assert {what: code(attempt) for what, attempt in attempts.items()} == dict.fromkeys(attempts, "FORBIDDEN")


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    call_command("tail_policy", "--airline", "ACME", "--tail", "N1", *options)
    return capsys.readouterr().out.strip()


def test_the_document_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"```json\n(.*?)\n```", DOCUMENT.read_text().partition("## Least privilege")[2], re.DOTALL)
    assert shown[:2] == [printed(capsys), printed(capsys, "--format", "seaweedfs")]


def test_the_command_prints_the_policy_of_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    policy = json.loads(printed(capsys, "--format", "seaweedfs"))
    identity = seaweedfs_identity("ACME", "N1", MEDIA, STATUS)
    assert (policy["name"], tuple(policy["actions"])) == (identity.name, identity.actions)
    assert json.loads(printed(capsys)) == iam_policy("ACME", "N1", MEDIA, STATUS)


def test_a_wildcard_in_a_name_is_no_wildcard_in_its_rights() -> None:
    text = json.dumps(iam_policy("AC*ME", "N?$", MEDIA, STATUS))
    assert f"arn:aws:s3:::{STATUS}/AC${{*}}ME/N${{?}}${{$}}/*" in text
    assert "AC*ME" not in text
    for airline, tail in (("AC*ME", "N1"), ("ACME", "N?")):
        with pytest.raises(BadName, match="holds a wildcard"):
            seaweedfs_identity(airline, tail, MEDIA, STATUS)


def test_the_queue_that_is_called_like_a_manifest_is_denied_to_all_but_its_tail() -> None:
    denied = [f"arn:aws:s3:::{MEDIA}/ACME/.fleet/campaign.json{ending}" for ending in ("", ".dsse")]
    for tail, expected in (("N1", [denied]), ("campaign", [])):
        statements = iam_policy("ACME", tail, MEDIA, STATUS)["Statement"]
        assert [one["Resource"] for one in statements if one["Effect"] == "Deny"] == expected


def test_a_name_that_is_none_is_refused_in_a_sentence() -> None:
    with pytest.raises(CommandError, match="begins with a dot") as refused:
        call_command("tail_policy", "--airline", ".fleet", "--tail", "N1")
    assert refused.value.returncode == 2
