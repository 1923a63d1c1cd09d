"""`trust.json` is parsed strictly, and a new version is accepted only with the signatures of the previous one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loader.signatures.dsse import BadEnvelope, key_id, require_signatures
from loader.signatures.signed_manifest import SignedManifest, read_signed_manifest
from loader.signatures.trust_state import AcceptedVersions, TrustState, dump_state, load_state
from loader.signatures.trusted_keys import (
    BadTrustedKeys,
    TrustedKeys,
    TrustedKeysVersion,
    build_chain,
    build_trusted_keys,
    newest_trusted,
    parse_chain,
    parse_trusted_keys,
    require_self_signed,
    revokes_key,
)
from tests.loader.signatures.test_dsse import HERE, manifest
from tests.support.signing_keys import keyring, public_hex, role, signed_version

GOLDEN = Path(__file__).parent / "golden_signed"
ONE = signed_version(keyring(1), "rita")
TWO = signed_version(keyring(2, people=("tess",), ACME=role("sam", "tess")), "rita")


def document(ring: TrustedKeys) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(build_trusted_keys(ring))
    return found


def test_a_keyring_is_read_as_it_was_written() -> None:
    ring = replace(keyring(7, BETA=role("sam"), ACME=role("sam", "rita", threshold=2)), extra={"note": ["kept"]})
    assert parse_trusted_keys(build_trusted_keys(ring)) == ring


def test_a_golden_chain_is_followed_as_it_always_was() -> None:
    newest, complaint = newest_trusted(None, parse_chain((GOLDEN / "trust.json").read_bytes()))
    assert newest is not None
    assert (newest.trusted_keys.version, newest.trusted_keys.airlines, complaint) == (
        2,
        {"ACME": role("sam", "tess", threshold=2)},
        "",
    )


SAM = key_id(public_hex("sam"))
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no version": ({"version": None}, "version: is missing"),
    "version 0": ({"version": 0}, "version: must be between 1"),
    "no keys": ({"keys": None}, "keys: must be an object"),
    "no root": ({"root": None}, "root: must be an object"),
    "a root without keys": ({"root": {"keys": [], "threshold": 1}}, "root.keys: is missing"),
    "threshold 0": (
        {"airlines": {"ACME": {"keys": [SAM], "threshold": 0}}},
        "airlines.ACME.threshold: must be between 1",
    ),
    "threshold negative": ({"root": {"keys": [SAM], "threshold": -1}}, "root.threshold: must be between 1"),
    "no threshold": ({"root": {"keys": [SAM]}}, "root.threshold: is missing"),
    "a threshold nobody can reach": (
        {"root": {"keys": [SAM], "threshold": 2}},
        "root.threshold: must be between 1 and 1",
    ),
    "a threshold that is true": (
        {"root": {"keys": [SAM], "threshold": True}},
        "root.threshold: must be a whole number",
    ),
    "a key twice": (
        {"root": {"keys": [SAM, SAM], "threshold": 2}},
        "root.keys: must be ids of keys, each of them once",
    ),
    "a key that is not listed": ({"root": {"keys": ["0" * 64], "threshold": 1}}, "root.keys: 0{64} is not among"),
    "a key that is no id": ({"root": {"keys": [5], "threshold": 1}}, "root.keys: must be ids of keys"),
    "a bad airline": ({"airlines": {"../x": {"keys": [SAM], "threshold": 1}}}, "airlines: the name"),
    "no airlines": ({"airlines": None}, "airlines: must be an object"),
}


@pytest.mark.parametrize(("fields", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_keyring_is_refused_with_the_place(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadTrustedKeys, match=sentence):
        parse_trusted_keys(json.dumps({**document(keyring()), **fields}).encode())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"keytype": "rsa"}, "keytype and scheme must be ed25519"),
        ({"scheme": "ed25519ph"}, "keytype and scheme must be ed25519"),
        ({"keyval": {"public": "A" * 64}}, "must be 64 hexadecimal digits in lower case"),
        ({"keyval": {"public": "a" * 63}}, "must be 64 hexadecimal digits"),
        ({"keyval": {"public": public_hex("eve")}}, "is not the id of its key"),
    ],
    ids=["rsa", "prehashed", "capitals", "short", "of another"],
)
def test_a_key_must_match_its_id(change: dict[str, Any], sentence: str) -> None:
    found = document(keyring())
    found["keys"][SAM] |= change
    with pytest.raises(BadTrustedKeys, match=sentence):
        parse_trusted_keys(json.dumps(found).encode())


def test_one_key_cannot_have_two_ids() -> None:
    found = document(keyring())
    found["keys"]["0" * 64] = found["keys"][SAM]
    with pytest.raises(BadTrustedKeys, match="is not the id of its key"):
        parse_trusted_keys(json.dumps(found).encode())


# From version to version.


def test_the_first_one_must_be_signed_by_its_own_root() -> None:
    assert newest_trusted(None, [ONE]) == (ONE, "")
    newest, complaint = newest_trusted(None, [signed_version(keyring(1), "sam")])
    assert newest is None
    assert "version 1 of the trusted keys is refused: it needs a valid signature" in complaint


def test_the_next_one_must_be_signed_by_both_roots() -> None:
    ring = keyring(2, root=role("ruth"), people=("ruth",))
    for people in (("rita",), ("ruth",), ("sam", "eve")):
        newest, complaint = newest_trusted(ONE, [signed_version(ring, *people)])
        assert newest is ONE
        assert "version 2 of the trusted keys is refused" in complaint
    both = signed_version(ring, "rita", "ruth")
    assert newest_trusted(ONE, [both]) == (both, "")


def test_the_threshold_of_the_version_before_counts_and_of_the_new_one_too() -> None:
    current = signed_version(keyring(1, root=role("rita", "ruth", threshold=2), people=("ruth",)), "rita", "ruth")
    alone = keyring(2, root=role("rita"), people=("ruth",))
    assert newest_trusted(current, [signed_version(alone, "rita")])[0] is current
    good = signed_version(alone, "rita", "ruth")
    assert newest_trusted(current, [good]) == (good, "")
    assert newest_trusted(good, [signed_version(replace(current.trusted_keys, version=3), "rita")])[0] is good


def test_a_loader_after_an_absence_follows_the_whole_chain() -> None:
    three = signed_version(keyring(3, root=role("ruth"), people=("ruth",)), "rita", "ruth")
    four = signed_version(keyring(4, root=role("ruth"), people=("ruth",)), "ruth")
    assert newest_trusted(ONE, [ONE, TWO, three, four]) == (four, "")
    assert newest_trusted(None, [TWO, three, four]) == (four, "")
    newest, complaint = newest_trusted(ONE, [three, four])
    assert newest is ONE
    assert "version 3 does not follow version 1" in complaint


def test_an_older_file_does_not_bring_older_keys_back() -> None:
    newest, complaint = newest_trusted(TWO, [ONE])
    assert newest is TWO
    assert "out of date: version 2 is current" in complaint


def test_another_file_by_the_same_number_is_refused() -> None:
    other = signed_version(keyring(2, people=("eve",), ACME=role("eve")), "rita")
    newest, complaint = newest_trusted(TWO, [other])
    assert newest is TWO
    assert "it differs from the known version of that number" in complaint


def test_a_chain_is_read_as_it_was_written() -> None:
    assert parse_chain(build_chain([ONE, TWO])) == [ONE, TWO]
    assert parse_chain(build_chain([ONE])) == [ONE]


@pytest.mark.parametrize("body", [b"[]", b"{}", b"x", b"[" + b"{}," * 64 + b"{}]", b" " * 5_000_000])
def test_an_invalid_chain_is_refused(body: bytes) -> None:
    with pytest.raises(BadEnvelope):
        parse_chain(body)


def test_a_signed_campaign_is_no_keyring() -> None:
    with pytest.raises(BadEnvelope, match="payloadType"):
        parse_chain((GOLDEN / "campaign.json.dsse").read_bytes())


def test_root_keys_do_not_sign_campaigns() -> None:
    require_self_signed(ONE)
    ring = ONE.trusted_keys
    with pytest.raises(BadEnvelope):
        require_signatures(ONE.envelope, ring.public_keys(ring.airlines["ACME"]), 1)


def test_a_key_is_lost_when_it_can_sign_for_the_airline_no_more() -> None:
    assert not revokes_key(ONE.trusted_keys, TWO.trusted_keys, "ACME")
    assert revokes_key(TWO.trusted_keys, ONE.trusted_keys, "ACME")
    assert revokes_key(ONE.trusted_keys, keyring(2, BETA=role("sam")), "ACME")
    assert not revokes_key(ONE.trusted_keys, TWO.trusted_keys, "BETA")


# Stored state.


def manifest_of_version(version: int) -> SignedManifest:
    return read_signed_manifest(manifest(version=version), HERE)


def known() -> TrustState:
    full = replace(TrustState(serial=4), time=datetime(2026, 12, 1, 1, 2, 3, 4, tzinfo=UTC)).with_keys(TWO)
    return full.with_accepted("ACME", manifest_of_version(3), "2026-12")


def test_the_stored_trust_is_read_back() -> None:
    note = json.loads(json.dumps({"schema": 1, **dump_state(known())}))
    assert load_state(note) == known()
    assert load_state({}) == TrustState()


def test_a_note_with_anything_changed_is_torn() -> None:
    changes: list[dict[str, object]] = [{"serial": 3}, {"time": None}, {"airlines": {}}, {"sum": None}, {"more": 1}]
    for change in changes:
        with pytest.raises(BadEnvelope, match="it is damaged"):
            load_state({**dump_state(known()), **change})


def test_the_highest_version_is_preserved() -> None:
    assert known().with_accepted("ACME", manifest_of_version(3), "2026-12") == known()
    assert known().with_accepted("ACME", manifest_of_version(2), "2026-12").accepted_of("ACME").versions == {
        "2026-12": 3
    }
    assert known().with_accepted("ACME", manifest_of_version(5), "2026-12").accepted_of("ACME").versions == {
        "2026-12": 5
    }
    assert known().accepted_of("BETA") == AcceptedVersions()


def test_versions_are_forgotten_when_a_key_is_taken_away_and_only_then() -> None:
    assert (
        known()
        .with_keys(TrustedKeysVersion(replace(TWO.trusted_keys, version=3), TWO.envelope))
        .accepted_of("ACME")
        .versions
    )
    after = known().with_keys(ONE).accepted_of("ACME")
    assert (after.versions, after.reset_by_rotation, after.signed) == ({}, True, True)
