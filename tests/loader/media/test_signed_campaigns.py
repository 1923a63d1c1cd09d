"""Signed campaigns: the real command with real keys and a real store, and the poller alone with a clock."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from fleet.simulation.proxy import FaultProxy
from ifeportal.management import base
from loader.contract.keys import manifest_key, signature_key
from loader.contract.manifest import Exhibition, Item, Manifest, build_manifest
from loader.errors import Code
from loader.media.manifest_reader import ManifestReader
from loader.media.manifest_verifier import ManifestVerifier, Policy, uses_tls
from loader.media.snapshot import ManifestResult
from loader.s3.interface import Bucket, GetResult, NotModified
from loader.s3.memory import MemoryBucket
from loader.signatures.trusted_keys import TrustedKeysVersion, build_chain
from loader.storage.content_store import ContentStore
from loader.storage.inventory import ManifestVersion
from tests.support.aircraft import AIRLINE, ROOT, TAIL, Aircraft, Run, bare_environment, publish
from tests.support.signing_keys import keyring, role, signed_envelope, signed_version

NOW = datetime.now(UTC).replace(microsecond=0)
LATER = NOW + timedelta(days=30)
BODY = {"a": b"of the film" * 1_000}
ONE = signed_version(keyring(1), "rita")


def manifest(items: Sequence[Item], version: int = 1, campaign: str = "c", **fields: Any) -> bytes:
    given: dict[str, Any] = {"airline": AIRLINE, "campaign": campaign, "version": version, **fields}
    return build_manifest(Manifest(tuple(items), **given))


def put(media: Bucket, body: bytes, *people: str, campaign: str = "c", airline: str = AIRLINE) -> None:
    """Put campaign.json and, signed by these people, campaign.json.dsse."""
    media.put(manifest_key(airline, campaign), body)
    if people:
        media.put(signature_key(airline, campaign), signed_envelope(body, *people))


# The poller and its trusted keys, in memory except for its files on disk.


@dataclass
class Loader:
    """Successive runs in the same directory, each with the current clock."""

    folder: Path
    media: MemoryBucket
    now: datetime = NOW
    keys: Path = Path()
    messages: list[str] = field(default_factory=list)
    stores: list[ContentStore] = field(default_factory=list)

    def provision(self, *chain: TrustedKeysVersion) -> None:
        self.keys.write_bytes(build_chain(chain))

    def start(self, policy: Policy = "enforce", tail: str = TAIL, named: Sequence[str] = ()) -> ManifestReader:
        store = ContentStore(self.folder)
        self.stores.append(store)
        trust = ManifestVerifier(
            policy,
            AIRLINE,
            tail,
            keys=self.keys,
            stores=[store],
            tls=uses_tls(self.media),
            now=lambda: self.now,
            notify=self.messages.append,
        )
        return ManifestReader(AIRLINE, named, self.media, trust)

    def look(self, policy: Policy = "enforce", tail: str = TAIL, campaign: str = "c") -> ManifestResult:
        """Return what a new run reads of the campaign."""
        return self.start(policy, tail).read_all(threading.Event()).manifests[campaign]

    def close(self) -> None:
        """End every run."""
        for store in self.stores:
            store.close()

    @property
    def note(self) -> Path:
        return self.folder / ".loader" / "trust.json"


@pytest.fixture
def loader(tmp_path: Path, memory_media: MemoryBucket) -> Iterator[Loader]:
    loader = Loader(tmp_path / "content", memory_media, keys=tmp_path / "trusted.json")
    loader.provision(ONE)
    yield loader
    loader.close()


ITEMS = [Item("a", 3, "0" * 64)]


def test_a_signed_campaign_is_accepted_with_the_edition_of_its_signed_bytes(loader: Loader) -> None:
    put(loader.media, manifest(ITEMS), "sam")
    reading = loader.look()
    assert reading.manifest is not None
    assert reading == loader.look("warn")
    assert reading == loader.look("off")


def test_with_the_policy_off_nothing_is_read_written_or_refused(loader: Loader) -> None:
    put(loader.media, manifest(ITEMS), "eve")
    lookout = loader.start("off")
    assert lookout.read_all(threading.Event()).manifests["c"].code is None
    assert loader.media.requests.get == 1
    assert not loader.note.exists()
    assert loader.messages == []


@pytest.mark.parametrize("policy", ["off", "enforce"])
def test_a_look_at_nothing_new_gets_the_same_without_a_body(loader: Loader, policy: Policy) -> None:
    put(loader.media, manifest(ITEMS), "sam")
    lookout = loader.start(policy)
    first = lookout.read_all(threading.Event()).manifests["c"]
    etags: list[str] = []
    get_if_changed = loader.media.get_if_changed

    def noted(key: str, limit: int, etag: str) -> GetResult | NotModified | None:
        etags.append(etag)
        return get_if_changed(key, limit, etag)

    loader.media.get_if_changed = noted  # type: ignore[method-assign]
    requests = loader.media.requests.get
    assert lookout.read_all(threading.Event()).manifests["c"] is not None
    assert lookout.read("c") == first
    assert len(etags) == 2
    assert loader.media.requests.get == requests + 2


def test_a_campaign_that_expires_during_a_run_is_refused_without_a_new_download(loader: Loader) -> None:
    put(loader.media, manifest(ITEMS, expires=LATER), "sam")
    loader.media.clock = lambda: loader.now
    lookout = loader.start()
    assert lookout.read("c").code == "BAD_SIGNATURE"  # the keys are read with the first poll
    assert lookout.read_all(threading.Event()).manifests["c"].code is None
    loader.now = LATER
    assert lookout.read("c").code == "EXPIRED"
    loader.now = NOW
    assert lookout.read("c").code == "EXPIRED"
    assert loader.look().code == "EXPIRED"


def test_trusted_times_survive_a_clock_that_is_set_back(loader: Loader) -> None:
    put(loader.media, manifest(ITEMS, expires=LATER), "sam")
    put(loader.media, manifest(ITEMS, campaign="d"), "sam", campaign="d")
    loader.media.clock = lambda: LATER
    assert loader.look().code is None  # over plain HTTP an attacker could send that
    loader.media.endpoint = "https://s3.example.org"  # type: ignore[attr-defined]
    assert loader.look().code == "EXPIRED"
    loader.media.clock = lambda: NOW
    assert loader.look().code == "EXPIRED"
    put(loader.media, manifest(ITEMS, 2, "d", signed_at=LATER + timedelta(days=9)), "sam", campaign="d")
    put(loader.media, manifest(ITEMS, 2, expires=LATER + timedelta(days=8)), "sam")
    first = loader.start()
    first.read_all(threading.Event())
    assert first.read("c").code == "EXPIRED"
    assert loader.look().code == "EXPIRED"


@pytest.mark.parametrize("endpoint", ["https://s3.example.org", "http://10.0.0.1:9000"])
@pytest.mark.parametrize("days", [40, 5000])
def test_a_clock_that_jumps_ahead_of_the_store_s_expires_nothing_for_good(
    loader: Loader, endpoint: str, days: int
) -> None:
    loader.media.endpoint = endpoint  # type: ignore[attr-defined]
    loader.media.clock = lambda: NOW
    put(loader.media, manifest(ITEMS, expires=NOW + timedelta(days=20)), "sam")
    running = loader.start()
    assert running.read_all(threading.Event()).manifests["c"].code is None
    loader.now = NOW + timedelta(days=days)
    assert running.read("c").code is None  # unchanged in the bucket
    assert loader.look().code is None
    loader.now = NOW
    assert running.read("c").code is None
    assert loader.look().code is None


def test_an_expired_campaign_with_a_past_exhibition_is_skipped_without_a_message(loader: Loader) -> None:
    over = Exhibition(ends=(NOW - timedelta(days=3)).date())
    put(loader.media, manifest(ITEMS, exhibition=over, expires=NOW - timedelta(days=2)), "sam")
    assert loader.look() == ManifestResult("c")
    assert loader.start(named=["c"]).read_all(threading.Event()).manifests["c"].code is not None


@pytest.mark.parametrize("policy", ["off", "warn"])
def test_a_campaign_for_other_tails_is_passed_over_quietly_unless_signatures_are_enforced(
    loader: Loader, policy: Policy
) -> None:
    put(loader.media, manifest(ITEMS, tails=("D-EFGH",)), "sam")
    assert loader.look(policy) == ManifestResult("c")
    assert loader.look(policy, "D-EFGH").manifest is not None
    refused = loader.look("enforce")
    assert (refused.code, refused.refused) == ("BAD_SIGNATURE", True)
    assert "not signed for this aircraft" in refused.text


def test_a_lower_version_is_loaded_with_the_policy_off(loader: Loader) -> None:
    put(loader.media, manifest(ITEMS, 5), "sam")
    assert loader.look("off").manifest_version.version == 5
    put(loader.media, manifest(ITEMS, 4), "sam")
    assert loader.look("off").manifest_version.version == 4


def test_a_version_below_an_unsigned_one_is_a_rollback(loader: Loader) -> None:
    store = ContentStore(loader.folder)
    store.mark_complete("c", [], ManifestVersion("0" * 64, 7))
    store.close()
    put(loader.media, manifest(ITEMS, 6), "sam")
    assert loader.look().code == "ROLLBACK"
    put(loader.media, manifest(ITEMS, 7), "sam")
    assert loader.look().code is None


def test_the_highest_version_counts_even_if_it_was_never_loaded(loader: Loader) -> None:
    for version, code in ((3, None), (2, "ROLLBACK"), (3, None), (4, None), (3, "ROLLBACK")):
        put(loader.media, manifest(ITEMS, version), "sam")
        assert loader.look().code == code


def test_a_note_that_cannot_be_written_lets_nothing_in(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loader.start().read_all(threading.Event()).manifests == {}  # the keys are stored
    put(loader.media, manifest(ITEMS), "sam")
    lookout = loader.start()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("loader.storage.content_store.write_state", full)
        assert lookout.read_all(threading.Event()).manifests["c"].code == "NO_SPACE"
    assert lookout.read_all(threading.Event()).manifests["c"].code is None


def look_and_die(loader: Loader, folder: Path, step: int) -> bool:
    """Poll in a process that is killed at the given change of the disk; return whether it survived."""
    child = os.fork()
    if not child:
        try:
            countdown = itertools.count(step - 1, -1)
            for name in ("mkdir", "open", "fsync", "rename", "unlink"):
                setattr(os, name, dying(getattr(os, name), countdown))
            loader.folder = folder
            used = loader.look().code is None
            os._exit(0 if used else 9)
        finally:
            os._exit(9)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code == 0


def dying(function: Any, countdown: Iterator[int]) -> Any:
    def call(*given: Any, **named: Any) -> Any:
        if next(countdown) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given, **named)

    return call


def test_a_kill_at_any_step_of_noting_tears_nothing_and_forgets_nothing_that_was_used(
    loader: Loader, tmp_path: Path
) -> None:
    for step in itertools.count(1):
        put(loader.media, manifest(ITEMS, 3), "sam")
        loader.folder = tmp_path / str(step)
        used = look_and_die(loader, loader.folder, step)
        put(loader.media, manifest(ITEMS, 2), "sam")
        assert loader.look().code in (["ROLLBACK"] if used else [None, "ROLLBACK"])
        if used:
            break
    assert step > 10


@pytest.mark.parametrize("torn", [b"", b"{", b"\0" * 300, b"[]", b'{"schema": 1, "serial": 9}', None])
@pytest.mark.parametrize("policy", ["warn", "enforce"])
def test_a_torn_note_lets_nothing_in(loader: Loader, policy: Policy, torn: bytes | None) -> None:
    put(loader.media, manifest(ITEMS, 3), "sam")
    assert loader.look().code is None
    body = loader.note.read_bytes()
    loader.note.write_bytes(body.replace(b'"c": 3', b'"c": 1') if torn is None else torn)
    assert loader.note.read_bytes() != body
    refused = loader.look(policy)
    assert refused.code == "BAD_SIGNATURE"
    assert "loader_trust reset" in refused.text
    assert "loader_trust reset" in loader.messages[-1]


def test_an_operator_resets_a_torn_note(loader: Loader) -> None:
    put(loader.media, manifest(ITEMS, 3), "sam")
    assert loader.look().code is None
    loader.note.write_bytes(b"{")
    loader.close()
    assert operator(loader.folder, "show").returncode == 3
    assert operator(loader.folder, "reset").returncode == 0
    assert loader.look().code is None


def operator(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run loader_trust on the aircraft."""
    command = [sys.executable, "manage.py", "loader_trust", *options, "--content-dir", str(folder)]
    return subprocess.run(
        command, cwd=ROOT, env=bare_environment(), capture_output=True, text=True, check=False, timeout=60
    )


def test_an_operator_sees_what_is_remembered_and_makes_it_forget_one_thing(loader: Loader) -> None:
    put(loader.media, manifest(ITEMS, 3), "sam")
    assert loader.look().code is None
    trust_report = json.loads(operator(loader.folder, "show").stdout)
    assert (trust_report["keys"], trust_report["airlines"]) == (1, {AIRLINE: {"signed": True, "versions": {"c": 3}}})
    trust_report = json.loads(operator(loader.folder, "reset", "--only", "versions").stdout)
    assert (trust_report["keys"], trust_report["airlines"]) == (1, {AIRLINE: {"signed": True, "versions": {}}})
    put(loader.media, manifest(ITEMS, 2), "sam")
    assert loader.look().code is None
    assert loader.stores[-1].lock()
    assert operator(loader.folder, "reset").returncode == 4
    assert operator(loader.folder / "not", "show").returncode == 2


def test_of_several_directories_the_newest_note_counts(loader: Loader, tmp_path: Path) -> None:
    put(loader.media, manifest(ITEMS, 3), "sam")
    stores = [ContentStore(tmp_path / name) for name in ("one", "two", "new")]
    loader.stores += stores

    def code(*those: ContentStore) -> Code | None:
        trust = ManifestVerifier("enforce", AIRLINE, TAIL, keys=loader.keys, stores=those)
        return ManifestReader(AIRLINE, [], loader.media, trust).read_all(threading.Event()).manifests["c"].code

    assert code(stores[0]) is None
    assert code(stores[1], stores[0]) is None
    put(loader.media, manifest(ITEMS, 2), "sam")
    assert code(stores[2], stores[1]) == "ROLLBACK"
    (tmp_path / "one" / ".loader" / "trust.json").write_bytes(b"{")
    assert code(stores[0], stores[1]) == "BAD_SIGNATURE"


# Keys.


def test_without_keys_nothing_is_let_in(loader: Loader) -> None:
    put(loader.media, manifest(ITEMS), "sam")
    loader.keys.unlink()
    assert loader.look().code == "BAD_SIGNATURE"
    assert loader.messages == ["the file of trusted keys cannot be read: No such file or directory"]


def test_trusted_keys_remain_in_force_without_their_file(loader: Loader) -> None:
    put(loader.media, manifest(ITEMS), "sam")
    assert loader.look().code is None
    loader.keys.write_bytes(b"{")
    assert loader.look().code is None
    assert "the file of trusted keys is refused" in loader.messages[-1]


def test_keys_of_another_airline_do_not_count(loader: Loader) -> None:
    loader.provision(signed_version(keyring(1, people=("eve",), BETA=role("sam"), ACME=role("eve")), "rita"))
    put(loader.media, manifest(ITEMS), "sam")
    assert loader.look().code == "BAD_SIGNATURE"


def test_a_rotation_is_followed_while_the_loader_runs_and_a_false_one_is_not(loader: Loader) -> None:
    put(loader.media, manifest(ITEMS), "sam")
    lookout = loader.start()
    assert lookout.read_all(threading.Event()).manifests["c"].code is None
    tess = keyring(2, people=("tess",), ACME=role("tess"))
    loader.provision(ONE, signed_version(tess, "eve"))
    assert lookout.read_all(threading.Event()).manifests["c"].code is None
    assert "version 2 of the trusted keys is refused" in loader.messages[-1]
    loader.provision(ONE, signed_version(tess, "rita"))
    assert lookout.read_all(threading.Event()).manifests["c"].code == "BAD_SIGNATURE"
    put(loader.media, manifest(ITEMS), "tess")
    assert lookout.read_all(threading.Event()).manifests["c"].code is None
    loader.provision(ONE)
    assert loader.look().code is None
    assert "out of date: version 2 is current" in loader.messages[-1]


def test_a_stolen_key_that_signed_far_ahead_is_outlived_by_taking_it_away(loader: Loader) -> None:
    put(loader.media, manifest(ITEMS, 3), "sam")
    assert loader.look().code is None
    put(loader.media, manifest(ITEMS, 10**9), "sam")
    assert loader.look().code is None
    put(loader.media, manifest(ITEMS, 4), "sam", "tess")
    assert loader.look().code == "ROLLBACK"
    more = signed_version(keyring(2, people=("tess",), ACME=role("sam", "tess")), "rita")
    loader.provision(ONE, more)
    assert loader.look().code == "ROLLBACK"  # an additional key removes nothing
    loader.provision(ONE, more, signed_version(keyring(3, people=("tess",), ACME=role("tess")), "rita"))
    assert loader.look().code is None
    put(loader.media, manifest(ITEMS, 3), "tess")
    assert loader.look().code == "ROLLBACK"


# Warnings.


def test_invalid_signatures_are_reported_and_accepted_in_warn_mode(loader: Loader) -> None:
    put(loader.media, manifest(ITEMS))
    assert loader.look("warn").warning == "UNSIGNED: campaign.json.dsse does not exist"
    put(loader.media, manifest(ITEMS), "eve")
    assert loader.look("warn").warning.startswith("BAD_SIGNATURE: campaign.json.dsse is refused: ")
    put(loader.media, manifest(ITEMS), "sam")
    assert loader.look("warn").warning == ""
    loader.media.put(manifest_key(AIRLINE, "c"), manifest(ITEMS, 2))
    reading = loader.look("warn")
    assert reading.warning.startswith("BAD_SIGNATURE: campaign.json differs from the manifest that campaign.json.dsse ")
    assert (reading.code, reading.manifest_version.version) == (None, 1)
    put(loader.media, manifest(ITEMS, 1, expires=NOW), "sam")
    reading = loader.look("warn")
    assert reading.warning.startswith("EXPIRED: ")
    assert reading.manifest is not None
    look = loader.start("warn").read_all(threading.Event())
    assert look.signature_warnings == {"c": reading.warning}


def test_once_something_signed_was_taken_the_unsigned_is_refused_even_while_only_warning(loader: Loader) -> None:
    put(loader.media, manifest(ITEMS), "sam")
    assert loader.look("warn").warning == ""
    loader.media.delete(signature_key(AIRLINE, "c"))
    assert loader.look("warn").code == "UNSIGNED"
    put(loader.media, manifest(ITEMS), "eve")
    assert loader.look("warn").code == "BAD_SIGNATURE"
    put(loader.media, manifest(ITEMS, campaign="d"), campaign="d")
    assert loader.look("warn", campaign="d").code == "UNSIGNED"
    loader.close()
    assert operator(loader.folder, "reset", "--only", "signed").returncode == 0
    assert loader.look("warn", campaign="d").warning == "UNSIGNED: campaign.json.dsse does not exist"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (manifest(ITEMS, 3), None),
        (manifest(ITEMS, 3, expires=NOW), "EXPIRED"),
        (manifest(ITEMS, 2), "ROLLBACK"),
        (manifest([Item("a", 3)], 3), "BAD_SIGNATURE"),
    ],
    ids=["valid", "expired", "older", "without hashes"],
)
def test_no_unsigned_manifest_is_accepted_after_a_signed_one(loader: Loader, body: bytes, code: str | None) -> None:
    put(loader.media, manifest(ITEMS, 3), "sam")
    assert loader.look("warn").warning == ""
    put(loader.media, body, "sam")
    evil = manifest([Item("evil", 3, "1" * 64)], 4)
    loader.media.put(manifest_key(AIRLINE, "c"), evil)
    reading = loader.look("warn")
    assert reading.code == code
    assert [item.name for item in reading.manifest.content] == ["a"] if reading.manifest else code
    assert reading.warning or reading.text


# The real command.


@pytest.fixture
def signed(aircraft: Aircraft, tmp_path: Path) -> Aircraft:
    keys = tmp_path / "trusted.json"
    keys.write_bytes(build_chain([ONE]))
    aircraft.extra |= {"LOADER_SIGNATURES": "enforce", "LOADER_TRUSTED_KEYS": str(keys)}
    return aircraft


def issue(aircraft: Aircraft, *people: str, campaign: str = "c", version: int = 1, **fields: Any) -> bytes:
    """Publish and sign; return the manifest."""
    items = publish(aircraft.media, campaign, BODY)
    body = manifest(items, version, campaign, **fields)
    put(aircraft.media, body, *people, campaign=campaign)
    return body


def assert_refused(aircraft: Aircraft, run: Run, code: str, campaign: str = "c") -> None:
    assert run.code == 3
    assert aircraft.errors()[campaign].startswith(f"{code}: ")


@pytest.mark.processes
def test_only_the_envelope_is_read_where_signatures_are_enforced(signed: Aircraft, link: FaultProxy) -> None:
    issue(signed, "sam")
    signed.media.put(manifest_key(AIRLINE, "c"), b"never to be read")
    assert signed.load().code == 0
    assert signed.path("c", "a").read_bytes() == BODY["a"]
    assert len(link.requests("GET", "*/campaign.json.dsse")) == 1
    assert link.requests("*", "*/campaign.json") == []


@pytest.mark.processes
def test_a_refused_campaign_stops_no_other_and_takes_nothing_away(signed: Aircraft) -> None:
    issue(signed, "sam")
    issue(signed, "sam", campaign="d")
    assert signed.load().code == 0
    signed.media.delete(signature_key(AIRLINE, "c"))
    issue(signed, "sam", campaign="e")
    assert_refused(signed, signed.load(), "UNSIGNED")
    assert list(signed.errors()) == ["c"]
    for campaign in "cde":
        assert signed.path(campaign, "a").read_bytes() == BODY["a"]
    issue(signed, "sam")
    assert signed.load().code == 0
    assert signed.errors() == {}


@pytest.mark.processes
@pytest.mark.parametrize(
    ("people", "fields", "code"),
    [
        ((), {}, "UNSIGNED"),
        (("eve",), {}, "BAD_SIGNATURE"),
        (("sam",), {"airline": "BETA"}, "BAD_SIGNATURE"),
        (("sam",), {"campaign": "d"}, "BAD_SIGNATURE"),
        (("sam",), {"tails": ("D-EFGH",)}, "BAD_SIGNATURE"),
        (("sam",), {"expires": NOW}, "EXPIRED"),
    ],
    ids=["unsigned", "a stranger's", "of another airline", "of another campaign", "for another tail", "expired"],
)
def test_a_replay_is_refused_and_nothing_of_it_is_fetched(
    signed: Aircraft, link: FaultProxy, people: Sequence[str], fields: dict[str, Any], code: str
) -> None:
    items = publish(signed.media, "c", BODY)
    put(signed.media, manifest(items, **{"campaign": "c", **fields}), *people)
    assert_refused(signed, signed.load(), code)
    assert link.requests("GET", "*.tgz") == []
    assert not signed.path("c", "a").exists()


@pytest.mark.processes
def test_a_warned_campaign_is_loaded_and_the_ground_hears_of_it(signed: Aircraft) -> None:
    issue(signed, "eve")
    run = signed.load(LOADER_SIGNATURES="warn")
    assert run.code == 0
    assert signed.path("c", "a").read_bytes() == BODY["a"]
    assert signed.errors() == {}
    (doubt,) = run.of("doubt")
    assert "c: BAD_SIGNATURE" in str(doubt["text"])
    doubts = signed.heartbeat().extra["signatures"]
    assert isinstance(doubts, dict)
    assert doubts["c"].startswith("BAD_SIGNATURE")


@pytest.mark.processes
def test_a_rollback_is_refused_after_a_kill_and_in_every_run_after_it(signed: Aircraft) -> None:
    old = issue(signed, "sam", version=2)
    assert signed.load().code == 0
    issue(signed, "sam", version=3, title="changed")
    bigger = {"a": os.urandom(300_000)}
    items = publish(signed.media, "c", bigger)
    put(signed.media, manifest(items, 3), "sam")
    assert signed.load(LOADER_CRASH_AT="part-begun").code == -9
    put(signed.media, old, "sam")
    for _ in range(2):
        assert_refused(signed, signed.load(), "ROLLBACK")
    assert signed.path("c", "a").read_bytes() == BODY["a"]
    put(signed.media, manifest(items, 3), "sam")
    assert signed.load().code == 0
    assert signed.path("c", "a").read_bytes() == bigger["a"]


@pytest.mark.processes
def test_a_frozen_campaign_is_refused_at_any_local_time(signed: Aircraft) -> None:
    """The aircraft's clock is a month behind the signatures."""
    issue(signed, "sam", expires=NOW + timedelta(days=20))
    assert signed.load().code == 0
    issue(signed, "sam", campaign="d", signed_at=LATER)
    assert signed.load("--campaign", "d").code == 0
    assert_refused(signed, signed.load(), "EXPIRED")
    assert_refused(signed, signed.load("--campaign", "c"), "EXPIRED")
    assert signed.path("c", "a").read_bytes() == BODY["a"]


@pytest.mark.processes
def test_signatures_cost_nothing_where_they_are_off(aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", BODY)
    process = aircraft.start("--once", PYTHONPROFILEIMPORTTIME="1")
    _, import_times = process.communicate(timeout=60)
    imported = {
        line.rpartition("|")[2].strip() for line in import_times.splitlines() if line.startswith("import time:")
    }
    assert process.returncode == 0
    assert "loader.media.manifest_verifier" in imported
    assert not any(name.startswith(("securesystemslib", "cryptography")) for name in imported)


@pytest.mark.processes
def test_campaigns_signed_by_the_commands_are_loaded_and_unsigned_ones_are_not(
    aircraft: Aircraft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "media_bucket", lambda: aircraft.media)
    monkeypatch.chdir(tmp_path)

    def ground(*options: str) -> str:
        out = StringIO()
        call_command(*options, stdout=out)
        return out.getvalue()

    december = ("--airline", AIRLINE, "--campaign", "2026-12")
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.tgz").write_bytes(BODY["a"])
    ground("trust_keys", "new", "root")
    ground("trust_keys", "new", "sam")
    ground("trust_keys", "trust", "trust.json", "--root", "root", "--airline", AIRLINE, "--signer", "sam.pub")
    ground("publish_campaign", "films", *december)
    aircraft.extra |= {"LOADER_SIGNATURES": "enforce", "LOADER_TRUSTED_KEYS": str(tmp_path / "trust.json")}
    assert_refused(aircraft, aircraft.load(), "UNSIGNED", "2026-12")
    assert "accept the campaign" in ground("sign_campaign", *december, "--key", "sam", "--trust", "trust.json")
    assert aircraft.load().code == 0
    assert aircraft.path("2026-12", "a").read_bytes() == BODY["a"]
    ground("publish_campaign", "films", *december, "--title", "December", "--sign-with", "sam")
    assert aircraft.load().code == 0
    assert aircraft.errors() == {}
