"""Signed transfer queues: what an unsigned one may decide, and versions that grow by bounded steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from loader.contract.keys import queue_key, queue_signature_key
from loader.contract.transfer_queue import QUEUE_LIMIT, VERSION_STEP_LIMIT
from loader.errors import Code, WorldError
from loader.media.manifest_verifier import ManifestVerifier, Policy
from loader.media.queue_reader import TransferQueueReader
from loader.s3.interface import GetResult
from loader.s3.memory import MemoryBucket
from loader.signatures.dsse import QUEUE_TYPE, build_envelope
from loader.signatures.trusted_keys import build_chain
from loader.storage.content_store import ContentStore
from tests.support.aircraft import AIRLINE, TAIL, Aircraft, publish
from tests.support.signing_keys import envelope, keyring, role, signed_envelope, signed_version

PURGE = {"campaign": "old", "action": "purge"}
LOAD = {"campaign": "new", "priority": 5}
ONE = signed_version(keyring(1), "rita")


def queue(version: int, *entries: dict[str, Any], **fields: Any) -> bytes:
    settings = {name: fields.pop(name) for name in ("paused", "window", "bandwidth_limit") if name in fields}
    listed = {"entries": entries} if entries else {}
    return json.dumps({"schema": 1, "version": version, **listed, "settings": settings, **fields}).encode()


def sealed(body: bytes, *people: str) -> bytes:
    return build_envelope(envelope(body, *people, kind=QUEUE_TYPE))


class Denying(MemoryBucket):
    """Denies access to envelopes, as a policy from before there were any."""

    def get(self, key: str, limit: int) -> GetResult | None:
        if key.endswith(".dsse"):
            raise WorldError(Code.FORBIDDEN, f"GET {key}: access denied")
        return super().get(key, limit)


@dataclass
class Loader:
    """Successive runs of a loader in one directory."""

    folder: Path
    keys: Path
    media: MemoryBucket = field(default_factory=MemoryBucket)
    stores: list[ContentStore] = field(default_factory=list)

    def start(self, policy: Policy = "enforce") -> TransferQueueReader:
        store = ContentStore(self.folder)
        self.stores.append(store)
        verifier = ManifestVerifier(policy, AIRLINE, TAIL, keys=self.keys, stores=[store])
        return TransferQueueReader(AIRLINE, TAIL, self.media, store, verifier)

    def read(self, policy: Policy = "enforce") -> TransferQueueReader:
        reader = self.start(policy)
        reader.read()
        return reader

    def put(self, body: bytes, *people: str) -> None:
        """Put a queue and, if people sign it, its envelope."""
        self.media.put(queue_key(AIRLINE, TAIL), body)
        if people:
            self.seal(body, *people)

    def seal(self, body: bytes, *people: str) -> None:
        self.media.put(queue_signature_key(AIRLINE, TAIL), sealed(body, *people))


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[Loader]:
    loader = Loader(tmp_path / "content", tmp_path / "trusted.json")
    loader.keys.write_bytes(build_chain([ONE]))
    yield loader
    for store in loader.stores:
        store.close()


def actions(reader: TransferQueueReader) -> list[tuple[str, str]] | None:
    assert reader.queue is not None
    entries = reader.queue.entries
    return None if entries is None else [(entry.campaign, entry.action) for entry in entries]


def version(reader: TransferQueueReader) -> int | None:
    return reader.queue.version if reader.queue else None


def test_a_signed_queue_is_obeyed_in_everything(loader: Loader) -> None:
    loader.put(queue(7, PURGE, LOAD, paused=True, uploads=[{"id": "1"}]), "sam")
    reader = loader.read()
    assert reader.queue is not None
    assert (actions(reader), reader.queue.paused) == ([("old", "purge"), ("new", "load")], True)
    assert ("uploads" in reader.queue.extra, reader.problem) == (True, "")
    assert loader.start().queue == reader.queue


def test_an_unsigned_queue_neither_removes_nor_pauses_where_signatures_are_enforced(loader: Loader) -> None:
    more = {"stores": [{"id": "x"}], "uploads": [{"id": "1"}], "by": "ops"}
    loader.put(queue(7, PURGE, LOAD, paused=True, window="22:00-05:00", bandwidth_limit="20MB", **more))
    reader = loader.read()
    assert reader.queue is not None
    assert (actions(reader), reader.queue.paused) == ([("new", "load")], False)
    assert (str(reader.queue.window), reader.queue.bandwidth_limit) == ("22:00-05:00", 20_000_000)
    assert reader.queue.extra == {"by": "ops"}
    assert reader.problem == (
        "The transfer queue is obeyed without the removal of 'old', the pause, its stores and its uploads: "
        "it is not signed"
    )
    assert loader.start().queue == reader.queue


@pytest.mark.parametrize("entries", [[], [PURGE]], ids=["none", "a removal only"])
def test_an_unsigned_queue_cannot_pause_by_an_empty_list(loader: Loader, entries: list[object]) -> None:
    loader.put(queue(7, entries=entries))
    reader = loader.read()
    assert actions(reader) is None
    assert "is obeyed without" in reader.problem


def test_an_unsigned_queue_that_only_orders_is_no_problem(loader: Loader) -> None:
    loader.put(queue(7, LOAD))
    reader = loader.read()
    assert (actions(reader), reader.problem) == ([("new", "load")], "")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (sealed(queue(9, PURGE), "eve"), "BAD_SIGNATURE: it needs a valid signature"),
        (sealed(queue(9, PURGE, tail="D-EFGH"), "sam"), "BAD_SIGNATURE: it was signed for another tail: 'D-EFGH'"),
        (sealed(queue(9, PURGE, airline="BETA"), "sam"), "BAD_SIGNATURE: it was signed for another airline: 'BETA'"),
        (signed_envelope(queue(9, PURGE), "sam"), "BAD_SIGNATURE: payloadType: must be "),
        (sealed(b"[]", "sam"), "INTERNAL: the document: must be an object"),
        (b"nonsense", "BAD_SIGNATURE: line 1"),
        (b" " * (2 * QUEUE_LIMIT), "BAD_SIGNATURE: it is longer than"),
    ],
    ids=["a stranger's", "for another tail", "for another airline", "a manifest", "no queue", "no JSON", "too long"],
)
def test_a_signature_that_is_refused_gives_no_privileges(loader: Loader, body: bytes, why: str) -> None:
    loader.put(queue(7, PURGE, LOAD))
    loader.media.put(queue_signature_key(AIRLINE, TAIL), body)
    reader = loader.read()
    assert (version(reader), actions(reader)) == (7, [("new", "load")])
    assert f"its signature is refused ({why}" in reader.problem


def test_a_queue_that_names_its_airline_and_tail_is_taken(loader: Loader) -> None:
    loader.put(queue(7, PURGE, airline=AIRLINE, tail=TAIL), "sam")
    assert actions(loader.read()) == [("old", "purge")]


def test_the_signed_queue_takes_precedence_over_an_unsigned_one(loader: Loader) -> None:
    loader.put(queue(7, PURGE), "sam")
    reader = loader.read()
    loader.put(queue(900_000, LOAD, paused=True))
    reader.read()
    assert (version(reader), actions(reader), reader.problem) == (7, [("old", "purge")], "")
    loader.media.delete(queue_key(AIRLINE, TAIL))
    reader.read()
    assert version(reader) == 7


def test_an_older_signed_queue_is_refused_in_every_later_run(loader: Loader) -> None:
    loader.put(queue(7, LOAD), "sam")
    assert version(loader.read()) == 7
    loader.media.delete(queue_key(AIRLINE, TAIL))
    loader.seal(queue(6, PURGE), "sam")
    reader = loader.read()
    assert version(reader) == 7
    assert "ROLLBACK: its version 6 is older than version 7" in reader.problem
    loader.seal(queue(8, PURGE), "sam")
    reader.read()
    assert (version(reader), reader.problem) == (8, "")


def test_no_unsigned_version_blocks_the_next_signed_one(loader: Loader) -> None:
    loader.put(queue(7, LOAD), "sam")
    reader = loader.read()
    loader.media.delete(queue_signature_key(AIRLINE, TAIL))
    loader.put(queue(7 + VERSION_STEP_LIMIT, LOAD))
    reader.read()
    assert version(reader) == 7 + VERSION_STEP_LIMIT
    loader.put(queue(8, PURGE), "sam")
    reader.read()
    assert (version(reader), actions(reader)) == (8, [("old", "purge")])


@pytest.mark.parametrize("policy", ["off", "warn", "enforce"])
@pytest.mark.parametrize("before", [None, 7])
@pytest.mark.parametrize("jump", [2**53, VERSION_STEP_LIMIT + 8])
def test_a_jump_of_the_version_is_refused_and_blocks_no_later_queue(
    loader: Loader, policy: Policy, before: int | None, jump: int
) -> None:
    reader = loader.start(policy)
    if before is not None:
        loader.put(queue(before, LOAD))
        reader.read()
    loader.put(queue(jump, paused=True))
    reader.read()
    assert version(reader) == before
    assert "more than 1,000,000 above" in reader.problem
    loader.put(queue(8, LOAD))
    reader.read()
    assert (version(reader), reader.problem) == (8, "")


def test_a_signed_jump_is_refused_too(loader: Loader) -> None:
    loader.put(queue(7, LOAD), "sam")
    reader = loader.read()
    loader.put(queue(2**53, PURGE), "sam")
    reader.read()
    assert (version(reader), actions(reader)) == (7, [("new", "load")])
    assert "more than 1,000,000 above version 7" in reader.problem


def test_while_only_warning_an_unsigned_queue_is_obeyed_until_a_signed_one_was_accepted(loader: Loader) -> None:
    loader.put(queue(7, PURGE, LOAD))
    reader = loader.read("warn")
    assert actions(reader) == [("old", "purge"), ("new", "load")]
    assert reader.problem == (
        "The transfer queue is obeyed, but where signatures are enforced the removal of 'old' would not be: "
        "it is not signed"
    )
    loader.put(queue(8, LOAD), "sam")
    reader.read()
    assert (version(reader), reader.problem) == (8, "")
    loader.put(queue(9, PURGE))
    reader.read()
    assert (version(reader), reader.problem) == (8, "The transfer queue differs from the signed one, which is used")
    loader.media.delete(queue_signature_key(AIRLINE, TAIL))
    assert actions(loader.read("warn")) is None


def test_with_the_policy_off_no_signature_is_asked_for(loader: Loader) -> None:
    loader.put(queue(7, PURGE, paused=True), "eve")
    reader = loader.read("off")
    assert (actions(reader), reader.problem) == ([("old", "purge")], "")
    assert loader.media.requests.get == 1


def test_an_unchanged_queue_is_not_verified_again(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    loader.put(queue(7, PURGE), "sam")
    reader = loader.read()
    monkeypatch.setattr(ManifestVerifier, "accept_queue", None)
    reader.read()
    assert (version(reader), reader.problem, loader.media.requests.get) == (7, "", 2)


def test_keys_that_arrive_later_make_the_signature_count(loader: Loader) -> None:
    loader.keys.unlink()
    loader.put(queue(7, PURGE, LOAD), "sam")
    reader = loader.read()
    assert actions(reader) == [("new", "load")]
    loader.keys.write_bytes(build_chain([ONE]))
    reader.read()
    assert actions(reader) == [("old", "purge"), ("new", "load")]


def test_a_key_that_was_taken_away_takes_its_version_with_it(loader: Loader) -> None:
    loader.put(queue(900_000, LOAD), "sam")
    assert version(loader.read()) == 900_000
    other = signed_version(keyring(2, people=("tess",), ACME=role("tess")), "rita")
    loader.keys.write_bytes(build_chain([ONE, other]))
    loader.put(queue(8, PURGE), "tess")
    assert actions(loader.read()) == [("old", "purge")]


def test_access_that_is_denied_to_the_signature_leaves_an_unsigned_queue(loader: Loader) -> None:
    loader.media = Denying()
    loader.put(queue(7, PURGE, LOAD), "sam")
    reader = loader.read()
    assert actions(reader) == [("new", "load")]
    assert "its signature cannot be read" in reader.problem


def test_a_store_that_does_not_answer_changes_nothing(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    loader.put(queue(7, PURGE), "sam")
    reader = loader.read()

    def away(*_: object) -> None:
        raise WorldError(Code.TIMEOUT, "no answer")

    with monkeypatch.context() as broken:
        broken.setattr(loader.media, "get_if_changed", away)
        reader.read()
    assert (version(reader), reader.problem) == (7, "The transfer queue cannot be read: TIMEOUT: no answer")
    reader.read()
    assert reader.problem == ""


@pytest.mark.processes
def test_an_aircraft_that_enforces_signatures_removes_and_pauses_only_by_a_signed_queue(
    aircraft: Aircraft, tmp_path: Path
) -> None:
    keys = tmp_path / "trusted.json"
    keys.write_bytes(build_chain([ONE]))
    publish(aircraft.media, "old", {"a": b"film"})
    assert aircraft.load().code == 0
    aircraft.extra |= {"LOADER_SIGNATURES": "enforce", "LOADER_TRUSTED_KEYS": str(keys)}
    # A campaign that ends far from now is not in use, and the key of its manifest is not asked for here.
    aircraft.media.delete(f"{AIRLINE}/old/campaign.json")
    aircraft.media.delete(f"{AIRLINE}/old/a.tgz")
    body = queue(1, {"campaign": "old", "action": "purge"}, paused=True)
    aircraft.media.put(queue_key(AIRLINE, TAIL), body)
    run = aircraft.load()
    assert aircraft.path("old", "a").exists()
    assert "without the removal of 'old' and the pause: it is not signed" in str(run.of("queue")[0]["text"])
    assert "it is not signed" in str(aircraft.heartbeat().extra["queue_error"])
    body = queue(2, {"campaign": "old", "action": "purge"})
    aircraft.media.put(queue_key(AIRLINE, TAIL), body)
    aircraft.media.put(queue_signature_key(AIRLINE, TAIL), sealed(body, "sam"))
    assert aircraft.load().code == 0
    assert not aircraft.path("old", "a").exists()
    assert aircraft.heartbeat().queue_version == 2
