"""Signed manifests: which signatures count and which manifests are accepted."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as Standard
from securesystemslib.signer import CryptoSigner, SSlibKey

from loader.contract.manifest import MANIFEST_LIMIT, Item, Manifest, build_manifest
from loader.errors import BadManifest, ContractError
from loader.signatures.dsse import (
    CAMPAIGN_TYPE,
    ENVELOPE_LIMIT,
    SIGNATURES_LIMIT,
    BadEnvelope,
    Envelope,
    Signature,
    build_envelope,
    key_id,
    parse_envelope,
    require_signatures,
    sign_envelope,
    verified_signers,
)
from loader.signatures.signed_manifest import SignedManifest, SigningScope, check_acceptable, read_signed_manifest
from tests.support.signing_keys import envelope, private_key, public_hex, signed_envelope

GOLDEN = Path(__file__).parent / "golden_signed"
PAYLOAD = b'{"airline": "ACME"}'
HERE = SigningScope("ACME", "2026-12", "D-ABCD")
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def check(body: bytes, people: Sequence[str] = ("sam",), threshold: int = 1) -> bytes:
    """Return what a reader with these keys accepts."""
    parsed = parse_envelope(body)
    require_signatures(parsed, [public_hex(name) for name in people], threshold)
    return parsed.payload


def document(*names: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(signed_envelope(PAYLOAD, *names))
    return found


def body_of(found: dict[str, Any]) -> bytes:
    return json.dumps(found).encode()


# Signers.


def test_a_good_signature_is_good() -> None:
    assert check(signed_envelope(PAYLOAD, "sam")) == PAYLOAD


def test_two_of_two_are_two() -> None:
    assert check(signed_envelope(PAYLOAD, "sam", "tess"), ("sam", "tess"), 2) == PAYLOAD


def test_one_signature_does_not_meet_a_threshold_of_two() -> None:
    with pytest.raises(BadEnvelope, match="2 valid signatures from its trusted keys; 1 of these are valid"):
        check(signed_envelope(PAYLOAD, "sam"), ("sam", "tess"), 2)


def test_one_key_used_twice_counts_once() -> None:
    twice = document("sam")
    twice["signatures"] *= 2
    assert check(body_of(twice)) == PAYLOAD
    with pytest.raises(BadEnvelope, match="1 of these are valid"):
        check(body_of(twice), ("sam", "tess"), 2)
    with pytest.raises(BadEnvelope, match="1 of these are valid"):
        check(body_of(twice), ("sam", "sam"), 2)


def test_one_key_with_two_names_counts_once() -> None:
    twice = document("sam")
    twice["signatures"] += [{**twice["signatures"][0], "keyid": key_id(public_hex("tess"))}]
    with pytest.raises(BadEnvelope, match="1 of these are valid"):
        check(body_of(twice), ("sam", "tess"), 2)


def test_an_unknown_key_before_the_good_one_does_no_harm() -> None:
    assert check(signed_envelope(PAYLOAD, "eve", "sam")) == PAYLOAD
    assert check(signed_envelope(PAYLOAD, "sam", "eve")) == PAYLOAD


def test_a_bad_signature_before_the_good_one_of_the_same_key_does_no_harm() -> None:
    good = envelope(PAYLOAD, "sam").signatures[0]
    both = Envelope(PAYLOAD, CAMPAIGN_TYPE, (Signature(good.keyid, b"\0" * 64), good))
    assert check(build_envelope(both)) == PAYLOAD


def test_an_unknown_key_alone_is_none() -> None:
    with pytest.raises(BadEnvelope, match="a valid signature from its trusted keys; 0 of these") as caught:
        check(signed_envelope(PAYLOAD, "eve"))
    assert caught.value.code == "BAD_SIGNATURE"
    assert caught.value.permanent


def test_a_signature_of_an_unknown_key_under_a_known_name_is_none() -> None:
    forged = document("eve")
    forged["signatures"][0]["keyid"] = key_id(public_hex("sam"))
    with pytest.raises(BadEnvelope, match="0 of these are valid"):
        check(body_of(forged))


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_of_none_lets_nothing_pass(threshold: int) -> None:
    with pytest.raises(BadEnvelope, match="would accept unsigned data"):
        check(signed_envelope(PAYLOAD, "sam"), ("sam",), threshold)


def test_no_signature_is_valid_without_keys() -> None:
    with pytest.raises(BadEnvelope):
        check(signed_envelope(PAYLOAD, "sam"), ())


# Payloads.


def test_another_payload_type_is_refused_before_any_signature_is_looked_at() -> None:
    with pytest.raises(BadEnvelope, match=r"payloadType: must be application/vnd\.ifeportal\.campaign"):
        check(body_of({**document("sam"), "payloadType": "application/json"}))


def test_a_signature_over_another_payload_type_does_not_count() -> None:
    other = envelope(PAYLOAD, "sam", kind="application/vnd.ifeportal.trust+json;v=1")
    with pytest.raises(BadEnvelope, match="0 of these are valid"):
        check(build_envelope(Envelope(other.payload, CAMPAIGN_TYPE, other.signatures)))


def test_a_trailing_byte_of_the_payload_breaks_the_signature() -> None:
    for payload in (PAYLOAD + b"\n", PAYLOAD + b"\0", PAYLOAD[:-1]):
        longer = {**document("sam"), "payload": base64.b64encode(payload).decode()}
        with pytest.raises(BadEnvelope, match="0 of these are valid"):
            check(body_of(longer))


@pytest.mark.parametrize("size", [0, 63, 65, 4096])
def test_a_signature_of_another_length_does_not_count(size: int) -> None:
    good = envelope(PAYLOAD, "sam").signatures[0]
    odd = Envelope(PAYLOAD, CAMPAIGN_TYPE, (Signature(good.keyid, (good.value * 64)[:size]),))
    with pytest.raises(BadEnvelope, match="0 of these are valid"):
        check(build_envelope(odd))


@given(at=st.integers(0, 63), bit=st.integers(0, 7))
@settings(max_examples=40, deadline=None)
def test_no_bit_of_a_signature_may_change(at: int, bit: int) -> None:
    good = envelope(PAYLOAD, "sam").signatures[0]
    value = bytearray(good.value)
    value[at] ^= 1 << bit
    assert (
        verified_signers(Envelope(PAYLOAD, CAMPAIGN_TYPE, (Signature(good.keyid, bytes(value)),)), [public_hex("sam")])
        == set()
    )


# Encoding.


def test_base64_has_one_spelling_and_it_is_the_standard_one() -> None:
    payload = b'{"x": "\xc3\xbf\xc3\xbf\xc3\xbf?>"}'
    standard = base64.b64encode(payload).decode()
    assert base64.urlsafe_b64encode(payload).decode() != standard
    good: dict[str, Any] = json.loads(signed_envelope(payload, "sam"))
    assert check(body_of(good)) == payload
    for text in (
        base64.urlsafe_b64encode(payload).decode(),
        standard.rstrip("="),
        standard + "=",
        standard + "\n",
        " " + standard,
        standard[:8] + "\n" + standard[8:],
        standard + standard,
        standard + "é",
    ):
        if text != standard:
            with pytest.raises(BadEnvelope, match="payload: must be base64 in the standard alphabet"):
                check(body_of({**good, "payload": text}))


def test_bits_that_base64_leaves_over_must_be_nought() -> None:
    good = document("sam")
    sig: str = good["signatures"][0]["sig"]
    assert sig.endswith("==")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = sig[:-3] + alphabet[alphabet.index(sig[-3]) + 1] + "=="
    assert base64.b64decode(other) == base64.b64decode(sig)
    good["signatures"][0]["sig"] = other
    with pytest.raises(BadEnvelope, match=r"signatures\[0\].sig: must be base64"):
        check(body_of(good))


def test_a_list_of_ten_thousand_signatures_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("loader.signatures.dsse._is_valid", lambda *given: asked.append(given))
    many = document("sam")
    many["signatures"] *= 10_000
    assert len(body_of(many)) < ENVELOPE_LIMIT
    with pytest.raises(BadEnvelope, match="signatures: has 10,000 entries; 1 to 16 are allowed"):
        check(body_of(many))
    assert asked == []


def test_as_many_signatures_as_are_allowed_are_read() -> None:
    people = [f"p{n}" for n in range(SIGNATURES_LIMIT)]
    assert check(signed_envelope(PAYLOAD, *people), people, SIGNATURES_LIMIT) == PAYLOAD


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no signatures": ({"signatures": []}, "signatures: has 0 entries"),
    "signatures null": ({"signatures": None}, "signatures: has 0 entries"),
    "signatures an object": ({"signatures": {}}, "signatures: must be a list"),
    "a signature a string": ({"signatures": ["x"]}, r"signatures\[0\]: must be an object"),
    "no keyid": ({"signatures": [{"sig": ""}]}, r"signatures\[0\].keyid: must have 1 to 256 characters"),
    "a keyid too long": ({"signatures": [{"sig": "", "keyid": "a" * 257}]}, r"signatures\[0\].keyid: must have"),
    "a keyid a number": ({"signatures": [{"sig": "", "keyid": 5}]}, r"signatures\[0\].keyid: must be a string"),
    "no sig": ({"signatures": [{"keyid": "a"}]}, r"signatures\[0\].sig: is missing"),
    "no payload": ({"payload": None}, "payload: is missing"),
    "a payload a list": ({"payload": []}, "payload: must be a string, not a list"),
    "no type": ({"payloadType": None}, "payloadType: must be"),
    "a type a number": ({"payloadType": 1}, "payloadType: must be a string"),
}


@pytest.mark.parametrize(("fields", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_broken_envelope_is_refused_with_the_place(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadEnvelope, match=sentence):
        check(body_of({**document("sam"), **fields}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"not JSON",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"payload": "' + b"A" * (ENVELOPE_LIMIT + 1) + b'"}',
        b'{"payloadType": "a", "payloadType": "b"}',
    ],
    ids=["nothing", "null", "list", "words", "bom", "deep", "long", "twice"],
)
def test_an_invalid_envelope_is_refused(body: bytes) -> None:
    with pytest.raises(BadEnvelope):
        check(body)


def test_bytes_behind_the_envelope_are_refused() -> None:
    with pytest.raises(BadEnvelope, match="not JSON"):
        check(signed_envelope(PAYLOAD, "sam") + b"{}")


def test_the_longest_manifest_fits_into_an_envelope_and_a_longer_one_does_not() -> None:
    longest = b"x" * MANIFEST_LIMIT
    assert check(signed_envelope(longest, "sam")) == longest
    with pytest.raises(BadEnvelope, match="payload: has"):
        check(signed_envelope(longest + b"x", "sam"))


def test_fields_of_others_are_ignored() -> None:
    found = document("sam")
    found["signatures"][0]["cert"] = "x"
    assert check(body_of({**found, "more": [1]})) == PAYLOAD


@given(payload=st.binary(max_size=200), people=st.lists(st.sampled_from("abc"), unique=True, min_size=1))
@settings(max_examples=30, deadline=None)
def test_an_envelope_is_read_back(payload: bytes, people: list[str]) -> None:
    made = envelope(payload, *people)
    assert parse_envelope(build_envelope(made)) == made
    assert verified_signers(made, [public_hex(name) for name in "abc"]) == {public_hex(name) for name in people}


# Compatibility with other implementations.


def test_an_envelope_of_the_library_is_taken_and_ours_by_it() -> None:
    theirs = Standard(PAYLOAD, CAMPAIGN_TYPE, {})
    signer = CryptoSigner(private_key("sam"))
    theirs.sign(signer)
    assert check(json.dumps(theirs.to_dict()).encode()) == PAYLOAD
    ours = Standard.from_dict(json.loads(signed_envelope(PAYLOAD, "sam")))
    assert ours == theirs
    key = signer.public_key
    assert isinstance(key, SSlibKey)
    assert set(ours.verify([key], 1)) == {key.keyid}
    assert key.keyid == key_id(public_hex("sam"))


def test_signing_again_replaces_the_signature_of_the_same_key_only() -> None:
    made = envelope(PAYLOAD, "sam", "tess")
    assert sign_envelope(made, private_key("sam")).signatures == (made.signatures[1], made.signatures[0])


def test_a_golden_envelope_is_read_and_written_as_it_always_was() -> None:
    body, payload = (GOLDEN / "campaign.json.dsse").read_bytes(), (GOLDEN / "campaign.json").read_bytes()
    assert check(body, ("sam", "tess"), 2) == payload
    assert signed_envelope(payload, "sam", "tess") == body
    signed = read_signed_manifest(payload, HERE)
    assert check_acceptable(signed, 3, NOW).content[0].name == "movie-001"
    assert signed.digest == hashlib.sha256(payload).hexdigest()


# Purpose.


def manifest(**fields: Any) -> bytes:
    given: dict[str, Any] = {"airline": "ACME", "campaign": "2026-12", "version": 3, **fields}
    return build_manifest(Manifest((Item("a", 1, "0" * 64),), **given))


def judge(payload: bytes, floor: int | None = None, now: datetime = NOW) -> Manifest:
    return check_acceptable(read_signed_manifest(payload, HERE), floor, now)


def code_of(payload: bytes, floor: int | None = None, now: datetime = NOW) -> str:
    with pytest.raises(ContractError) as caught:
        judge(payload, floor, now)
    return caught.value.code


def test_a_signature_for_this_place_is_valid() -> None:
    assert judge(manifest(tails=("D-EFGH", "D-ABCD"), expires=datetime(2027, 1, 1, tzinfo=UTC)), floor=3).version == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"airline": "BETA"},
        {"airline": None},
        {"airline": "acme"},
        {"campaign": "2026-11"},
        {"campaign": None},
        {"tails": ("D-EFGH",)},
        {"tails": ()},
        {"version": None},
    ],
    ids=str,
)
def test_a_signature_for_another_place_or_none_is_invalid(fields: dict[str, Any]) -> None:
    assert code_of(manifest(**fields)) == "BAD_SIGNATURE"


def test_a_list_without_an_envelope_is_not_signed() -> None:
    assert code_of(b'[{"name": "a", "size": 1}]') == "BAD_SIGNATURE"


def test_a_version_below_the_highest_accepted_is_a_rollback_and_the_same_is_none() -> None:
    assert code_of(manifest(version=2), floor=3) == "ROLLBACK"
    assert judge(manifest(version=3), floor=3).version == 3
    assert judge(manifest(version=10**9), floor=3).version == 10**9


def test_expired_signatures_are_refused_from_the_exact_second() -> None:
    expires = datetime(2026, 12, 31, 18, tzinfo=UTC)
    assert code_of(manifest(expires=expires), now=expires) == "EXPIRED"
    assert judge(manifest(expires=expires), now=datetime(2026, 12, 31, 17, 59, 59, tzinfo=UTC)).expires == expires


def test_an_item_without_a_hash_is_not_covered_by_any_signature() -> None:
    bare = json.loads(manifest())
    del bare["content"][0]["sha256"]
    assert code_of(json.dumps(bare).encode()) == "BAD_SIGNATURE"


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\xff", "BAD_MANIFEST"), (b'{"a": NaN}', "BAD_MANIFEST"), (b'{"a": 1, "a": 2}', "BAD_MANIFEST")],
)
def test_signed_nonsense_is_nonsense(payload: bytes, code: str) -> None:
    with pytest.raises(BadManifest):
        read_signed_manifest(payload, HERE)
    assert code_of(payload) == code


def test_the_checks_come_in_their_order() -> None:
    """Each case has the faults of all later ones too."""
    expires = "2026-01-01T00:00:00Z"
    last = {"content": [{"name": "../x", "size": -1}], "expires": expires, "version": 1}
    place = {"airline": "ACME", "campaign": "2026-12"}
    assert code_of(json.dumps({**last, **place, "airline": "BETA"}).encode(), floor=3) == "BAD_SIGNATURE"
    assert code_of(json.dumps({**last, **place, "tails": ["X"]}).encode(), floor=3) == "BAD_SIGNATURE"
    assert code_of(json.dumps({**last, **place}).encode(), floor=3) == "ROLLBACK"
    assert code_of(json.dumps({**last, **place}).encode(), floor=1) == "EXPIRED"
    assert code_of(json.dumps({**last, **place, "expires": None}).encode(), floor=1) == "BAD_NAME"
    assert isinstance(read_signed_manifest(json.dumps({**last, **place}).encode(), HERE), SignedManifest)
