"""Verifies signed manifests and queues with the trusted keys, and records on disk what it accepted.

Reads the file of trusted keys (`loader.signatures.trusted_keys`) and writes a small state to every content directory;
`loader.signatures.signed_manifest` decides. A manifest is used only after it was recorded, so that a kill at any time
loses nothing. If a state exists but cannot be read, no manifest is accepted: the state may contain a higher version.
With the policy `off` this module reads and writes nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from loader.contract.keys import queue_key
from loader.contract.manifest import MANIFEST_LIMIT, Manifest
from loader.contract.transfer_queue import QUEUE_LIMIT, TransferQueue, check_version_step
from loader.errors import ContractError, WorldError
from loader.signatures.dsse import CAMPAIGN_TYPE, QUEUE_TYPE, BadEnvelope, parse_envelope, require_signatures
from loader.signatures.signed_manifest import SignedManifest, SigningScope, check_acceptable, read_signed_manifest
from loader.signatures.signed_queue import read_signed_queue
from loader.signatures.trust_state import TRUST_STATE_LIMIT, TrustState, dump_state, load_state
from loader.signatures.trusted_keys import FILE_LIMIT, TrustedKeysVersion, newest_trusted, parse_chain
from loader.storage.content_store import ContentStore

Policy = Literal["off", "warn", "enforce"]
TRUST_STATE: Final = "trust"
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
TIME_STEP: Final = timedelta(minutes=15)  # smallest step in which trusted time is stored, to limit writes
AHEAD: Final = timedelta(days=1)  # a local clock further ahead of the store's is not trusted
RESET: Final = "inspect it with `manage.py loader_trust show`, then run `manage.py loader_trust reset`"


class ManifestVerifier:
    """Verifies manifests for one airline and tail. Thread-safe. `stores` must be locked."""

    def __init__(
        self,
        policy: Policy,
        airline: str,
        tail: str,
        *,
        keys: Path | None = None,
        stores: Sequence[ContentStore] = (),
        tls: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`tls`: the store's clock may be trusted, because no third party can change its answers.

        `notify` is called once with each problem that an operator should know.
        """
        self.policy, self.airline, self.tail = policy, airline, tail
        self._file, self._stores, self._tls, self._now, self._notify = keys, tuple(stores), tls, now, notify
        self._lock = threading.Lock()
        self._state = TrustState()
        self._latest_time = _NEVER  # the newest time from the store or a signature, stored or not
        self._clock_is_wrong = False
        self._refusal = ""
        self._last_message = ""
        if policy != "off":
            self._load()

    @property
    def keys_version(self) -> int:
        """Version of the current keys. A manifest that was verified with another version must be verified again."""
        return self._state.keys.trusted_keys.version if self._state.keys else 0

    @property
    def signatures_required(self) -> bool:
        """Whether unsigned manifests are refused even with the policy `warn`: a signed one was accepted before."""
        return bool(self._refusal) or self._state.accepted_of(self.airline).signed

    def trusted_time(self) -> datetime:
        """Return the latest of the local clock, the store's clock (over TLS), signing times and the stored time."""
        clock = _NEVER if self._clock_is_wrong else self._now()
        return max(clock, self._latest_time, self._state.time or _NEVER)

    def refresh(self) -> None:
        """Read the file of trusted keys again. Never raises."""
        if self.policy == "off" or self._refusal:
            return
        with self._lock:
            keys, problem = self._newest_keys()
            try:
                if keys is not None and keys != self._state.keys:
                    self._save(self._state.with_keys(keys))
            except WorldError as error:
                problem = f"newer trusted keys cannot be stored, so they are not used: {error}"
        self._report(problem)

    def observe_store_time(self, time: datetime | None) -> None:
        """Take the time of the store's latest answer into account.

        Only over TLS does it move the trusted time: a third party could change it otherwise. Over plain HTTP it does
        keep a local clock that has jumped ahead from expiring manifests, which would be stored for good.
        """
        if self.policy == "off" or time is None:
            return
        with self._lock:
            if self._tls:
                self._latest_time = max(self._latest_time, time)
            self._clock_is_wrong = self._now() - time > AHEAD

    def verify(self, campaign: str, body: bytes) -> SignedManifest:
        """Return the manifest in the envelope `body`, if enough trusted keys have signed it for this campaign.

        Raises:
            BadEnvelope: BAD_SIGNATURE, in all other cases.
            BadManifest: the signed manifest breaks the contract.
        """
        payload = self._signed_payload(body, CAMPAIGN_TYPE, MANIFEST_LIMIT)
        signed = read_signed_manifest(payload, SigningScope(self.airline, campaign, self.tail))
        if signed.summary.signed_at is not None:
            with self._lock:
                self._latest_time = max(self._latest_time, signed.summary.signed_at)
        return signed

    def _signed_payload(self, body: bytes, kind: str, limit: int) -> bytes:
        """Return the payload of an envelope that enough trusted keys have signed. Raises BadEnvelope."""
        if self._refusal:
            raise BadEnvelope(self._refusal)
        envelope = parse_envelope(body, kind=kind, limit=limit)
        keys = self._state.keys.trusted_keys if self._state.keys else None
        role = keys.airlines.get(self.airline) if keys else None
        if keys is None or role is None:
            raise BadEnvelope(f"no key is trusted for {self.airline!a}: provision LOADER_TRUSTED_KEYS")
        require_signatures(envelope, keys.public_keys(role), role.threshold)
        return envelope.payload

    def accept_queue(self, body: bytes) -> tuple[TransferQueue, bytes]:
        """Return the queue in the envelope `body`, and its signed bytes. Its version is recorded on disk first.

        Raises:
            ContractError: BAD_SIGNATURE, ROLLBACK, or the queue breaks the contract.
            WorldError: it could not be recorded, so it must not be used.
        """
        payload = self._signed_payload(body, QUEUE_TYPE, QUEUE_LIMIT)
        queue = read_signed_queue(payload, self.airline, self.tail)
        with self._lock:
            check_version_step(queue, self._state.accepted_of(self.airline).versions.get(self._queue_name))
            self._save(self._state.with_accepted_queue(self.airline, self._queue_name, queue.version))
        return queue, payload

    @property
    def queue_signature_required(self) -> bool:
        """Whether an unsigned queue has no privileges: by the policy, or because a signed one was accepted before."""
        if self.policy == "warn":
            return bool(self._refusal) or self._queue_name in self._state.accepted_of(self.airline).versions
        return self.policy == "enforce"

    @property
    def _queue_name(self) -> str:
        return queue_key(self.airline, self.tail).partition("/")[2]

    def accept(self, campaign: str, signed: SignedManifest) -> Manifest:
        """Return the manifest, if it may be used now. It is recorded on disk first.

        Raises:
            ContractError: ROLLBACK, EXPIRED, or its content is refused.
            WorldError: it could not be recorded, so it must not be used.
        """
        with self._lock:
            state, now = self._state, self.trusted_time()
            min_version = self._min_version(state, campaign)
            try:
                manifest = check_acceptable(signed, min_version, now)
                state = state.with_accepted(self.airline, signed, campaign)
            finally:
                # Also for a refused manifest: setting the clock back must not make it valid again.
                self._save(_with_time(state, now, signed.summary.expires))
        return manifest

    def has_ended(self, manifest: Manifest) -> bool:
        ends = manifest.exhibition.ends
        return ends is not None and ends < self.trusted_time().date()

    def is_for_this_tail(self, tails: Collection[str] | None) -> bool:
        return tails is None or self.tail in tails

    def has_accepted(self, campaign: str) -> bool:
        """Return whether a signed manifest of the campaign was accepted before."""
        return campaign in self._state.accepted_of(self.airline).versions

    # Versions and keys.

    def _min_version(self, state: TrustState, campaign: str) -> int | None:
        """Return the lowest acceptable version: the highest accepted, or the one installed without signatures."""
        accepted = state.accepted_of(self.airline)
        if campaign in accepted.versions:
            return accepted.versions[campaign]
        installed = [] if accepted.reset_by_rotation else [store.installed_version(campaign) for store in self._stores]
        return max((version.version for version in installed if version and version.version is not None), default=None)

    def _newest_keys(self) -> tuple[TrustedKeysVersion | None, str]:
        current = self._state.keys
        if self._file is None:
            return current, "" if current else "no keys are trusted: LOADER_TRUSTED_KEYS is not set"
        try:
            with self._file.open("rb") as stream:
                chain = parse_chain(stream.read(FILE_LIMIT + 1))
        except OSError as error:
            return current, f"the file of trusted keys cannot be read: {error.strerror}"
        except ContractError as error:
            return current, f"the file of trusted keys is refused: {error}"
        return newest_trusted(current, chain)

    # State on disk.

    def _load(self) -> None:
        try:
            states = _load_all(self._stores)
            self._state = _newest(states)
            if any(state.serial != self._state.serial for state in states):
                # A directory was added, or could not be written for some time. The other ones may be missing next time.
                with contextlib.suppress(WorldError):
                    self._state = save_trust_state(self._stores, self._state)
        except (WorldError, BadEnvelope) as error:
            self._refusal = (
                f"the stored trust state cannot be read ({error}), so no manifest is accepted until an operator "
                f"resets it: {RESET}"
            )
            self._report(self._refusal)

    def _save(self, state: TrustState) -> None:
        """Write the state to every directory, then use it. Raises WorldError if no directory could be written."""
        if state is not self._state:
            self._state = save_trust_state(self._stores, state)

    def _report(self, text: str) -> None:
        if text != self._last_message:
            self._last_message = text
            if text:
                self._notify(text)


def _with_time(state: TrustState, now: datetime, expires: datetime | None) -> TrustState:
    """Return the state with this time if it is worth storing: much later, or a manifest has expired since."""
    recorded = state.time or _NEVER
    expired = expires is not None and recorded < expires <= now
    return replace(state, time=now) if expired or now - recorded > TIME_STEP else state


def uses_tls(bucket: object) -> bool:
    """Return whether the bucket is accessed over TLS."""
    endpoint = getattr(bucket, "endpoint", "http:")  # buckets in memory have no endpoint; None is AWS's own
    return endpoint is None or str(endpoint).lower().startswith("https:")


def load_trust_state(stores: Sequence[ContentStore]) -> TrustState:
    """Return the newest stored state. Raises WorldError or BadEnvelope if one of them cannot be read."""
    return _newest(_load_all(stores))


def _load_all(stores: Sequence[ContentStore]) -> list[TrustState]:
    return [load_state(store.read_state(TRUST_STATE, TRUST_STATE_LIMIT)) for store in stores]


def _newest(states: Sequence[TrustState]) -> TrustState:
    return max(states, key=lambda state: state.serial, default=TrustState())


def save_trust_state(stores: Sequence[ContentStore], state: TrustState) -> TrustState:
    """Write the state to every directory and return it as written. Raises WorldError if all writes fail."""
    state = replace(state, serial=state.serial + 1)
    failure: WorldError | None = None
    written = 0
    for store in stores:
        try:
            store.write_state(TRUST_STATE, dump_state(state))
            written += 1
        except WorldError as error:
            failure = error
    if failure is not None and not written:
        raise failure
    return state
