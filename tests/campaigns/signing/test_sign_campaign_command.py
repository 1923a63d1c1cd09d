"""The commands `sign_campaign`, `trust_keys` and `publish_campaign --sign-with`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.management import CommandError, call_command

from campaigns.management.commands import publish_campaign
from campaigns.publishing.folder_publisher import publish_folder
from campaigns.signing.private_keys import load_key, new_key, public_hex
from ifeportal.management import base
from loader.contract.manifest import Item, Manifest, build_manifest
from loader.errors import Code, WorldError
from loader.s3.memory import MemoryBucket
from loader.signatures.dsse import Envelope, key_id, parse_envelope, require_signatures
from loader.signatures.trusted_keys import newest_trusted, parse_chain

NOW = datetime.now(UTC)
MANIFEST, SIGNATURE = "ACME/2026-12/campaign.json", "ACME/2026-12/campaign.json.dsse"
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def media(monkeypatch: pytest.MonkeyPatch) -> MemoryBucket:
    media = MemoryBucket("ife-media")
    monkeypatch.setattr(base, "media_bucket", lambda: media)
    return media


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Create the keys of Sam, Tess, Rita and Ruth."""
    for name in ("sam", "tess", "rita", "ruth"):
        new_key(tmp_path / name)
    return tmp_path


def run(*options: str) -> str:
    out = StringIO()
    call_command(*options, stdout=out, stderr=StringIO())
    return out.getvalue()


def sign(*options: str) -> str:
    return run("sign_campaign", "--airline=ACME", "--campaign=2026-12", *options)


def refused(call: Callable[[], object]) -> tuple[str, int]:
    """Return the message and the exit code of the error."""
    with pytest.raises(CommandError) as caught:
        call()
    return str(caught.value), caught.value.returncode


def put(media: MemoryBucket, **fields: Any) -> bytes:
    given: dict[str, Any] = {"airline": "ACME", "campaign": "2026-12", "version": 3, **fields}
    items = given.pop("items", (Item("a", 1, "0" * 64),))
    body = build_manifest(Manifest(items, **given))
    media.put(MANIFEST, body)
    return body


def envelope(media: MemoryBucket) -> Envelope:
    fetched = media.get(SIGNATURE, 1_000_000)
    assert fetched is not None
    return parse_envelope(fetched.body)


def public(keys: Path, name: str) -> str:
    return public_hex(load_key(keys / name, lambda: b""))


# Signing.


def test_the_exact_bytes_in_the_bucket_are_signed_and_the_key_is_named(media: MemoryBucket, keys: Path) -> None:
    body = put(media)
    output = sign("--key", str(keys / "sam"))
    assert envelope(media).payload == body
    assert require_signatures(envelope(media), [public(keys, "sam")], 1)
    assert output.splitlines()[0] == "Signed ACME/2026-12 version 3: 1 item"
    assert f"Signed by key {key_id(public(keys, 'sam'))}" in output


def test_two_people_sign_one_after_the_other(media: MemoryBucket, keys: Path) -> None:
    put(media)
    sign("--key", str(keys / "sam"))
    output = json.loads(sign("--key", str(keys / "tess"), "--json"))
    assert output["others"] == [key_id(public(keys, "sam"))]
    assert require_signatures(envelope(media), [public(keys, name) for name in ("sam", "tess")], 2)
    sign("--key", str(keys / "tess"))
    assert len(envelope(media).signatures) == 2


def test_or_one_person_with_two_keys_at_once(media: MemoryBucket, keys: Path) -> None:
    put(media)
    sign("--key", str(keys / "sam"), "--key", str(keys / "tess"))
    assert require_signatures(envelope(media), [public(keys, name) for name in ("sam", "tess")], 2)


def test_signatures_of_an_older_manifest_go(media: MemoryBucket, keys: Path) -> None:
    put(media)
    sign("--key", str(keys / "sam"))
    body = put(media, version=4)
    sign("--key", str(keys / "tess"))
    assert (envelope(media).payload, len(envelope(media).signatures)) == (body, 1)


@pytest.mark.parametrize("version", [2, 3])
def test_a_manifest_that_is_not_newer_than_the_one_signed_is_not_signed(
    media: MemoryBucket, keys: Path, version: int
) -> None:
    put(media)
    sign("--key", str(keys / "sam"))
    before = envelope(media)
    put(media, version=version, title="another")
    text, code = refused(lambda: sign("--key", str(keys / "sam")))
    assert (code, envelope(media)) == (1, before)
    assert "publish with a version above 3" in text


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"airline": None}, "it does not name its airline"),
        ({"campaign": None}, "it does not name its campaign"),
        ({"version": None}, "signed without a version"),
        ({"items": (Item("a", 1),)}, "'a' has no sha256"),
        ({"expires": NOW - timedelta(days=1)}, "it expired at"),
        ({"tails": ()}, "no aircraft would accept it"),
        ({"airline": "BETA"}, "airline: must be 'ACME'"),
    ],
    ids=["no airline", "no campaign", "no version", "no hash", "expired", "no tails", "another airline"],
)
def test_a_campaign_that_aircraft_would_refuse_is_not_signed(
    media: MemoryBucket, keys: Path, fields: dict[str, Any], why: str
) -> None:
    put(media, **fields)
    text, code = refused(lambda: sign("--key", str(keys / "sam")))
    assert code == 1
    assert why in text
    assert [found.key for found in media.list()] == [MANIFEST]


def test_a_manifest_for_some_tails_is_signed(media: MemoryBucket, keys: Path) -> None:
    put(media, tails=("D-ABCD", "D-EFGH"), expires=NOW + timedelta(days=1))
    sign("--key", str(keys / "sam"))


@pytest.mark.parametrize("body", [b"{", b"[]", b"x" * 6_000_000, None], ids=["broken", "list", "long", "none"])
def test_an_invalid_manifest_is_not_signed(media: MemoryBucket, keys: Path, body: bytes | None) -> None:
    if body is not None:
        media.put(MANIFEST, body)
    _, code = refused(lambda: sign("--key", str(keys / "sam")))
    assert code == 1


def test_only_the_named_campaign_is_signed(media: MemoryBucket, keys: Path) -> None:
    put(media)
    text, code = refused(lambda: sign("--key", str(keys / "sam"), "--sha256", "0" * 64))
    assert code == 1
    digest = re.findall("[0-9a-f]{64}", text)[-1]
    assert f"SHA-256 of campaign.json: {digest}" in sign("--key", str(keys / "sam"), "--sha256", digest.upper())


def test_an_unreachable_bucket_differs_from_one_that_refuses(
    media: MemoryBucket, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code, expected in ((Code.NETWORK, 75), (Code.FORBIDDEN, 2)):

        def fail(*_: object, code: Code = code, **__: object) -> None:
            raise WorldError(code, "made up")

        monkeypatch.setattr(media, "get", fail)
        assert refused(lambda: sign("--key", str(keys / "sam")))[1] == expected


def test_a_concurrent_signature_is_not_overwritten(
    media: MemoryBucket, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(media)
    write = media.put

    def late(key: str, body: bytes, **conditions: Any) -> str:
        write(key, b"of someone else")
        return write(key, body, **conditions)

    monkeypatch.setattr(media, "put", late)
    text, code = refused(lambda: sign("--key", str(keys / "sam")))
    assert code == 1
    assert "someone else signed" in text


# Keys.


def test_a_new_key_is_its_owner_s_alone_and_never_written_over_another(tmp_path: Path) -> None:
    output = run("trust_keys", "new", str(tmp_path / "key"))
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert key_id(public(tmp_path, "key")) in output
    assert "PRIVATE" not in output
    _, code = refused(lambda: run("trust_keys", "new", str(tmp_path / "key")))
    assert code == 2


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_not_used(media: MemoryBucket, keys: Path, mode: int) -> None:
    put(media)
    (keys / "sam").chmod(mode)
    text, code = refused(lambda: sign("--key", str(keys / "sam")))
    assert code == 2
    assert "chmod 600" in text


def test_an_encrypted_key_needs_its_passphrase(media: MemoryBucket, tmp_path: Path) -> None:
    put(media)
    secret, wrong = tmp_path / "secret", tmp_path / "wrong"
    for path, text in ((secret, PASSPHRASE + "\n"), (wrong, "no\n")):
        path.touch(0o600)
        path.write_text(text)
    run("trust_keys", "new", str(tmp_path / "key"), "--passphrase-file", str(secret))
    assert b"ENCRYPTED" in (tmp_path / "key").read_bytes()
    for options in ([], ["--passphrase-file", str(wrong)]):
        text, code = refused(partial(sign, "--key", str(tmp_path / "key"), *options))
        assert code == 2
        assert PASSPHRASE not in text
    sign("--key", str(tmp_path / "key"), "--passphrase-file", str(secret))
    secret.chmod(0o644)
    assert "chmod 600" in refused(lambda: sign("--key", str(tmp_path / "key"), "--passphrase-file", str(secret)))[0]


def test_an_invalid_ed25519_key_is_refused_and_not_shown(media: MemoryBucket, tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for body in (other, b"-----BEGIN PRIVATE KEY-----\nSECRETSECRET\n-----END PRIVATE KEY-----\n", b""):
        (tmp_path / "odd").unlink(missing_ok=True)
        (tmp_path / "odd").touch(0o600)
        (tmp_path / "odd").write_bytes(body)
        text, code = refused(lambda: sign("--key", str(tmp_path / "odd")))
        assert code == 2
        assert "SECRET" not in text
    assert refused(lambda: sign("--key", str(tmp_path / "missing")))[1] == 2


# Trusted keys.


def trust(action: str, keys: Path, *options: str) -> str:
    return run("trust_keys", action, str(keys / "trust.json"), *options)


def first(keys: Path, *options: str) -> str:
    signer = ["--airline", "ACME", "--signer", str(keys / "sam.pub")]
    return trust("trust", keys, "--root", str(keys / "rita"), *signer, *options)


def in_force(keys: Path) -> int:
    newest, _ = newest_trusted(None, parse_chain((keys / "trust.json").read_bytes()))
    return newest.trusted_keys.version if newest else 0


def test_trusted_keys_are_made_shown_and_never_made_again(keys: Path) -> None:
    output = first(keys)
    assert "ACME: 1 of 1" in output
    assert output == trust("show", keys)
    assert in_force(keys) == 1
    assert refused(lambda: first(keys))[1] == 2


def test_the_signer_is_replaced_and_the_history_is_preserved(keys: Path) -> None:
    first(keys)
    output = trust(
        *("rotate", keys, "--root", str(keys / "rita")),
        *(
            "--airline",
            "ACME",
            "--signer",
            str(keys / "tess.pub"),
            "--signer",
            public(keys, "ruth"),
            "--threshold",
            "2",
        ),
    )
    assert "ACME: 2 of 2" in output
    chain = parse_chain((keys / "trust.json").read_bytes())
    assert [one.trusted_keys.version for one in chain] == [1, 2]
    assert in_force(keys) == 2
    assert key_id(public(keys, "sam")) not in chain[-1].trusted_keys.keys


def test_a_root_is_replaced_only_with_its_own_signature(keys: Path) -> None:
    first(keys)
    output = trust("rotate", keys, "--root", str(keys / "ruth"), "--new-root", str(keys / "ruth.pub"))
    assert "not valid yet, missing: 1 signature by the root keys of version 1" in output
    assert in_force(keys) == 1
    trust("sign", keys, "--root", str(keys / "rita"))
    assert in_force(keys) == 2


def test_airlines_come_and_go(keys: Path) -> None:
    first(keys)
    root = ("--root", str(keys / "rita"))
    trust("rotate", keys, *root, "--airline", "BETA", "--signer", str(keys / "tess.pub"))
    trust("rotate", keys, *root, "--remove-airline", "ACME")
    assert set(parse_chain((keys / "trust.json").read_bytes())[-1].trusted_keys.airlines) == {"BETA"}
    assert in_force(keys) == 3


@pytest.mark.parametrize(
    "options",
    [["--threshold", "0"], ["--threshold", "2"], ["--root-threshold", "2"], ["--signer", "x"], ["--airline", "../x"]],
    ids=str,
)
def test_rules_that_aircraft_would_refuse_are_not_made(keys: Path, options: list[str]) -> None:
    assert refused(lambda: first(keys, *options))[1] == 2
    assert not (keys / "trust.json").exists()


def test_signing_lists_what_is_still_missing(media: MemoryBucket, keys: Path) -> None:
    put(media)
    first(keys, "--signer", str(keys / "tess.pub"), "--threshold", "2")
    file = ("--trust", str(keys / "trust.json"))
    assert "Missing signatures: 1" in sign("--key", str(keys / "sam"), *file)
    assert "Aircraft with these trusted keys accept the campaign." in sign("--key", str(keys / "tess"), *file)


# Publishing.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "december"
    folder.mkdir()
    (folder / "a.tgz").write_bytes(b"12345")
    return folder


def release(folder: Path, *options: str) -> str:
    return run("publish_campaign", str(folder), "--airline=ACME", "--campaign=2026-12", *options)


def document(media: MemoryBucket) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(media.open(MANIFEST).read())
    return found


def test_a_campaign_is_published_and_signed_at_once(media: MemoryBucket, keys: Path, folder: Path) -> None:
    output = release(folder, "--sign-with", str(keys / "sam"), "--tail", "D-ABCD", "--expires", "2027-01-15")
    assert "Signed ACME/2026-12 version 1: 1 item" in output
    assert require_signatures(envelope(media), [public(keys, "sam")], 1)
    assert envelope(media).payload == media.open(MANIFEST).read()
    written = document(media)
    assert (written["tails"], written["expires"]) == (["D-ABCD"], "2027-01-16")
    assert NOW <= datetime.fromisoformat(written["signed_at"]) <= datetime.now(UTC)


def test_publishing_the_same_again_changes_nothing_but_signs(media: MemoryBucket, keys: Path, folder: Path) -> None:
    release(folder, "--sign-with", str(keys / "sam"))
    before = media.open(MANIFEST).read()
    assert "is up to date" in release(folder, "--sign-with", str(keys / "tess"))
    assert media.open(MANIFEST).read() == before
    assert len(envelope(media).signatures) == 2


def test_a_changed_campaign_asks_to_be_signed_again(media: MemoryBucket, keys: Path, folder: Path) -> None:
    release(folder, "--sign-with", str(keys / "sam"), "--tail", "D-ABCD", "--expires", "2027-01-15T18:00:00+01:00")
    output = release(folder, "--title", "December")
    assert "sign the campaign again" in output
    written = document(media)
    assert (written["tails"], written["expires"], written["version"]) == (["D-ABCD"], "2027-01-15T17:00:00Z", 2)
    assert "signed_at" not in written
    output = release(
        folder, "--title", "Christmas", "--all-tails", "--expires", "never", "--sign-with", str(keys / "sam")
    )
    assert "sign the campaign again" not in output
    assert {"tails", "expires"}.isdisjoint(document(media))
    assert envelope(media).payload == media.open(MANIFEST).read()


@pytest.mark.parametrize(
    "options",
    [
        ["--expires", "2027-01-15T18:00:00"],
        ["--expires", "soon"],
        ["--expires", "9999-12-31"],
        ["--expires", "9999-12-31T23:00:00-05:00"],
        ["--expires", "0001-01-01T00:00:00+05:00"],
    ],
    ids=str,
)
def test_a_time_that_could_mean_several_is_refused(media: MemoryBucket, folder: Path, options: list[str]) -> None:
    refused(lambda: release(folder, *options))
    assert list(media.list()) == []


def test_tails_and_all_tails_exclude_each_other(media: MemoryBucket, folder: Path) -> None:
    assert refused(lambda: release(folder, "--tail", "D-ABCD", "--all-tails"))[1] == 2


def test_a_key_that_cannot_be_used_is_found_before_anything_is_sent(media: MemoryBucket, folder: Path) -> None:
    assert refused(lambda: release(folder, "--sign-with", str(folder / "none")))[1] == 2
    assert list(media.list()) == []


def test_a_manifest_that_replaced_the_published_one_is_not_signed(
    media: MemoryBucket, keys: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def robbed(*given: Any, **more: Any) -> Any:
        result = publish_folder(*given, **more)
        put(media, version=9)
        return result

    monkeypatch.setattr(publish_campaign, "publish_folder", robbed)
    text, code = refused(lambda: release(folder, "--sign-with", str(keys / "sam")))
    assert code == 1
    assert "Published, but not signed: expected SHA-256" in text
    assert SIGNATURE not in {found.key for found in media.list()}
