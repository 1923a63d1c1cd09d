"""Last stage: the checked object gets its final key, in the store only; then the rows follow.

Never over an object that is another one than expected, and never over what a published manifest names: a conflict ends
the upload. A worker may be killed at any point: an object with the same bytes under the key is the one that an earlier
attempt placed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from campaigns.publishing.manifest_writer import read_published_state
from campaigns.uploads.announcements.names import object_key
from campaigns.uploads.models import Stage
from campaigns.uploads.stages.comparing import has_content
from campaigns.uploads.stages.copying import CopyProgress, CopySource, abort_copy, copy_parts
from campaigns.uploads.stages.packing import NAME as PACKED
from campaigns.uploads.stages.work import UploadWork, failure
from loader.contract.keys import signature_key
from loader.contract.manifest import parse_manifest
from loader.errors import Code, ContractError, WorldError
from loader.s3.errors import UploadGone
from loader.s3.interface import GetResult
from loader.signatures.dsse import ENVELOPE_LIMIT, parse_envelope

CONFLICT_ADVICE: Final = "Upload the file under another name, or delete the existing object, then retry."


def place(work: UploadWork) -> None:
    """Copy the object to its final key for this slice. Records `placed` once it is there. Raises OperationFailed."""
    source, key = _source(work), _key(work)
    work.slice.report(stage=Stage.PLACING)
    _require_unpublished(work)
    state = work.checkpoint.get("place") or _begin(work, key)
    try:
        is_placed = state["exists"] or _copy(work, source, key, state)
    except UploadGone:
        is_placed = _resolve_lost_copy(work, key)
    except WorldError as error:
        if error.code not in (Code.OBJECT_CHANGED, Code.OBJECT_GONE):
            raise
        work.slice.commit(place={**state, "exists": True})
        return
    if state["exists"]:
        is_placed = _resolve_conflict(work, key, state)
    if is_placed:
        _record_placed(work, key)


def _begin(work: UploadWork, key: str) -> dict[str, Any]:
    """Begin the copy. `replaces`: ETag of the object to replace; `exists`: another object is in the way."""
    found = work.call(work.media.get, key, 1)
    exists = found is not None and not work.upload.replace
    upload_id = "" if exists else work.call(work.media.begin_upload, key).upload_id
    state = {"upload_id": upload_id, "replaces": found.etag if found and not exists else "", "exists": exists}
    work.slice.commit(place=state)
    return state


def _copy(work: UploadWork, source: CopySource, key: str, state: Mapping[str, Any]) -> bool:
    """Copy for this slice. Return whether the object is complete. Raises WorldError."""
    target, copied = work.media.resume_upload(key, state["upload_id"]), CopyProgress()
    condition: dict[str, Any] = {"if_match": state["replaces"]} if state["replaces"] else {"if_none_match": True}

    def copy(stop: threading.Event) -> bool:
        if source.size == 0:
            work.media.put(key, b"", **condition)
            target.abort()
            return True
        parts = copy_parts(source, target, copied, stop)
        if parts is None:
            return False
        target.complete(parts, **condition)
        return True

    return work.run_in_thread(copy, lambda: copied.bytes, source.size, Stage.PLACING)


def finish_store(work: UploadWork) -> None:
    """Delete what is left of the upload outside its final key. It may be repeated. Raises WorldError."""
    upload, checkpoint = work.upload, work.checkpoint
    unfinished = [(upload.incoming_key, upload.store_upload_id)]
    for name, key in (("pack", work.incoming(PACKED)), ("place", _key(work))):
        unfinished.append((key, (checkpoint.get(name) or {}).get("upload_id", "")))
    for key, upload_id in unfinished:
        if key and upload_id:
            work.call(abort_copy, work.media, key, upload_id)
    for key in (upload.incoming_key, work.incoming(PACKED)):
        if key:
            work.call(work.media.delete, key)


def _key(work: UploadWork) -> str:
    return object_key(work.airline, work.upload.campaign, work.upload.item)


def _source(work: UploadWork) -> CopySource:
    packed = work.checkpoint.get("packed")
    if packed:
        return CopySource(work.incoming(PACKED), packed["etag"], packed["size"])
    incoming = work.checkpoint["incoming"]
    return CopySource(work.upload.incoming_key, incoming["etag"], incoming["size"])


def sums(work: UploadWork) -> Mapping[str, str]:
    """Return `sha256` and `crc32` of the object to place."""
    found: Mapping[str, str] = work.checkpoint.get("packed") or work.checkpoint["checked"]
    return found


def _resolve_lost_copy(work: UploadWork, key: str) -> bool:
    """Return whether an earlier attempt placed the object before the multipart upload ended; else begin again."""
    found = work.call(work.media.get, key, 1)
    same = _has_same_content(work, found, key)
    if same is False:
        work.slice.commit(place=None)
    return same is True


def _resolve_conflict(work: UploadWork, key: str, state: Mapping[str, Any]) -> bool:
    """Return whether the object in the way has the bytes of the upload, as far as this slice can find out.

    Raises OperationFailed if it has not.
    """
    found = work.call(work.media.get, key, 1)
    same = _has_same_content(work, found, key)
    if same is not False:
        return bool(same)
    if work.call(work.media.get, _source(work).key, 1) is None:
        error = "The uploaded file was deleted from the object store before it was in place."
        raise failure(Code.OBJECT_GONE, error, "Upload the file again.")
    if state["upload_id"]:
        work.call(abort_copy, work.media, key, state["upload_id"])
    work.slice.commit(place=None)
    if found is None:
        raise WorldError(Code.NETWORK, f"the object {key} was deleted while it was to be replaced")
    verb = "changed while it was to be replaced" if state["replaces"] else "already exists"
    error = f"The object {key} {verb}. Nothing was overwritten."
    raise failure(Code.OBJECT_CHANGED, error, CONFLICT_ADVICE, can_retry=True)


def _has_same_content(work: UploadWork, found: GetResult | None, key: str) -> bool | None:
    return has_content(work, found, key, _source(work).size, sums(work)["sha256"], Stage.PLACING)


def _require_unpublished(work: UploadWork) -> None:
    """Raise OperationFailed if a published manifest names the item, unless it names exactly these bytes."""
    upload = work.upload
    if not upload.campaign:
        return
    size, sha256 = _source(work).size, sums(work)["sha256"]
    for named_size, named_sha256 in work.call(_published, work, upload.campaign, upload.item):
        if (named_size, named_sha256 or sha256) != (size, sha256):
            error = f"The published manifest of {upload.campaign} names {upload.item}. Nothing was overwritten."
            advice = "Upload the file under another name, or publish the campaign without this item, then retry."
            raise failure(Code.OBJECT_CHANGED, error, advice, can_retry=True)


def _published(work: UploadWork, campaign: str, item: str) -> list[tuple[int, str | None]]:
    """Return size and SHA-256 of the item in campaign.json and in its signed envelope. Raises WorldError."""
    state = read_published_state(work.airline, campaign, work.media, lambda notice: None)
    manifests = [state.manifest] if state.manifest else []
    if state.is_signed:
        found = work.media.get(signature_key(work.airline, campaign), ENVELOPE_LIMIT)
        with contextlib.suppress(ContractError):  # no loader accepts such an envelope
            if found and not found.truncated:
                payload = parse_envelope(found.body).payload
                manifests.append(parse_manifest(payload, airline=work.airline, campaign=campaign))
    return [(each.size, each.sha256) for manifest in manifests for each in manifest.content if each.name == item]


def _record_placed(work: UploadWork, key: str) -> None:
    """Record the object as GET and listing describe it. Raises WorldError if it is not there."""
    listed = work.call(lambda: next((each for each in work.media.list(key) if each.key == key), None))
    found = work.call(work.media.get, key, 1)
    size = _source(work).size
    if listed is None or found is None or (listed.size, found.size) != (size, size):
        raise WorldError(Code.NETWORK, f"GET {key}: the object is not visible yet")
    placed = {"key": key, "etag": found.etag, "listed_etag": listed.etag, "size": size, **sums(work)}
    work.slice.commit(placed={**placed, "modified": listed.last_modified.isoformat()})


def modified_at(placed: Mapping[str, Any]) -> datetime:
    """Return when the object in place was last modified."""
    return datetime.fromisoformat(placed["modified"])
