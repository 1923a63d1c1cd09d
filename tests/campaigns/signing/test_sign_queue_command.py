"""`sign_queue` signs the exact bytes of a tail's transfer queue, and an aircraft accepts what it signed."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.management import CommandError, call_command

from ifeportal.management import base
from loader.contract.keys import queue_key, queue_signature_key
from loader.contract.transfer_queue import QUEUE_LIMIT
from loader.media.manifest_verifier import ManifestVerifier
from loader.media.queue_reader import TransferQueueReader
from loader.s3.memory import MemoryBucket
from loader.signatures.dsse import QUEUE_TYPE, parse_envelope
from loader.signatures.trusted_keys import build_chain
from loader.storage.content_store import ContentStore
from tests.support.signing_keys import keyring, private_key, role, signed_version

KEY, SIGNATURE = queue_key("ACME", "D-ABCD"), queue_signature_key("ACME", "D-ABCD")


@pytest.fixture
def media(monkeypatch: pytest.MonkeyPatch) -> MemoryBucket:
    media = MemoryBucket("ife-media")
    monkeypatch.setattr(base, "media_bucket", lambda: media)
    return media


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for name in ("sam", "tess"):
        path = tmp_path / name
        path.write_bytes(private_key(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)
    return tmp_path


def put(media: MemoryBucket, version: int, **fields: object) -> bytes:
    entries = [{"campaign": "old", "action": "purge"}]
    body = json.dumps({"version": version, "entries": entries, **fields}).encode()
    media.put(KEY, body)
    return body


def sign(keys: Path, *options: str, by: str = "sam") -> str:
    out = StringIO()
    names = ["--airline=ACME", "--tail=D-ABCD", f"--key={keys / by}"]
    call_command("sign_queue", *names, *options, stdout=out, stderr=StringIO())
    return out.getvalue()


def refusal(keys: Path, *options: str) -> str:
    with pytest.raises(CommandError) as refused:
        sign(keys, *options)
    assert refused.value.returncode == 1
    return str(refused.value)


def test_an_aircraft_that_enforces_signatures_obeys_what_was_signed(
    media: MemoryBucket, keys: Path, tmp_path: Path
) -> None:
    body = put(media, 1, airline="ACME", tail="D-ABCD")
    assert sign(keys).splitlines()[0] == "Signed the transfer queue of ACME/D-ABCD, version 1"
    fetched = media.get(SIGNATURE, 10_000)
    assert fetched is not None
    assert parse_envelope(fetched.body, kind=QUEUE_TYPE, limit=QUEUE_LIMIT).payload == body
    trusted = tmp_path / "trust.json"
    trusted.write_bytes(build_chain([signed_version(keyring(1, ACME=role("sam")), "rita")]))
    store = ContentStore(tmp_path / "content")
    verifier = ManifestVerifier("enforce", "ACME", "D-ABCD", keys=trusted, stores=[store])
    reader = TransferQueueReader("ACME", "D-ABCD", media, store, verifier)
    reader.read()
    store.close()
    assert reader.queue is not None
    assert reader.queue.entries is not None
    assert ([entry.action for entry in reader.queue.entries], reader.problem) == (["purge"], "")


def test_several_people_sign_the_same_queue_and_a_new_one_starts_unsigned(media: MemoryBucket, keys: Path) -> None:
    put(media, 1)
    sign(keys)
    report = json.loads(sign(keys, "--json", by="tess"))
    assert (len(report["keys"]), len(report["others"]), report["names_its_tail"]) == (1, 1, False)
    put(media, 2)
    report = json.loads(sign(keys, "--json"))
    assert (report["version"], len(report["keys"]), len(report["others"])) == (2, 1, 0)


def test_a_queue_that_does_not_name_its_tail_is_signed_with_a_warning(media: MemoryBucket, keys: Path) -> None:
    put(media, 1)
    assert "valid for every tail that trusts the key" in sign(keys)
    put(media, 2, airline="ACME", tail="D-ABCD")
    assert "valid for every tail" not in sign(keys)


def test_a_queue_that_the_aircraft_would_refuse_is_not_signed(media: MemoryBucket, keys: Path) -> None:
    assert refusal(keys) == "Not signed: ACME/D-ABCD has no transfer queue."
    media.put(KEY, b"[]")
    assert "the aircraft would refuse the queue: the document: must be an object" in refusal(keys)
    put(media, 1, tail="D-EFGH")
    assert "signed for another tail" in refusal(keys)
    media.put(KEY, b" " * (QUEUE_LIMIT + 1))
    assert "longer than" in refusal(keys)
    put(media, 7)
    assert "expected SHA-256 00" in refusal(keys, "--sha256", "00")
    assert media.get(SIGNATURE, 10) is None
    sign(keys)
    for version, text in ((6, "older than version 7"), (2**53, "more than 1,000,000"), (7, "already signed")):
        put(media, version, by=str(version))
        assert text in refusal(keys)
