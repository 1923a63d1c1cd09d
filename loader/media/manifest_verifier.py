"""Verifies signed manifests with the trusted keys, and remembers what it accepted from run to run.

Reads the file of trusted keys (`loader.signatures.trusted_keys`) and keeps a small durable state in every content
directory; the decisions are made in `loader.signatures.signed_manifest`. A manifest is only used after it was
recorded, so that a kill at any instant forgets nothing. Where a state exists but cannot be read, no manifest is
accepted: it may have known better. With the policy `off` nothing here reads, writes or costs anything.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from loader.contract.manifest import MANIFEST_LIMIT, Manifest
from loader.errors import ContractError, WorldError
from loader.signatures.dsse import BadEnvelope, parse_envelope, require_signatures
from loader.signatures.signed_manifest import SignedManifest, SigningScope, check_acceptable, read_signed_manifest
from loader.signatures.trust_state import TRUST_STATE_LIMIT, TrustState, dump_state, load_state
from loader.signatures.trusted_keys import FILE_LIMIT, TrustedKeysVersion, newest_trusted, parse_chain
from loader.storage.content_store import ContentStore

Policy = Literal["off", "warn", "enforce"]
TRUST_STATE: Final = "trust"
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
TIME_STEP: Final = timedelta(minutes=15)  # trusted time is written down this often, so that disks are spared
AHEAD: Final = timedelta(days=1)  # a clock of ours this far ahead of the store's is wrong, not trusted
RESET: Final = "look at it with `manage.py loader_trust show`, then `manage.py loader_trust reset`"


class ManifestVerifier:
    """Of one loader, for its airline and tail. May be used by several threads. `stores` must be locked."""

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
        """`tls`: the store's clock may be believed, since nobody between could change what it says.

        `say` hears what an operator should know, once.
        """
        self.policy, self.airline, self.tail = policy, airline, tail
        self._file, self._stores, self._tls, self._now, self._notify = keys, tuple(stores), tls, now, notify
        self._lock = threading.Lock()
        self._state = TrustState()
        self._latest_time = _NEVER  # the newest time of others, noted or not
        self._clock_is_wrong = False
        self._refusal = ""
        self._last_message = ""
        if policy != "off":
            self._load()

    @property
    def keys_version(self) -> int:
        """The version of the keys in force; what was verified under another one must be verified again."""
        return self._state.keys.trusted_keys.version if self._state.keys else 0

    @property
    def signatures_required(self) -> bool:
        """Whether the unsigned is refused, whatever the policy but `off`: something signed was accepted before."""
        return bool(self._refusal) or self._state.accepted_of(self.airline).signed

    def trusted_time(self) -> datetime:
        """The latest of our clock, what the store said over TLS, and what was signed; never earlier than noted."""
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
                problem = f"newer trusted keys cannot be written down, so they are not in force: {error}"
        self._report(problem)

    def observe_store_time(self, time: datetime | None) -> None:
        """The store's clock, as it answered just now."""
        if self.policy == "off" or not self._tls or time is None:
            return
        with self._lock:
            self._latest_time = max(self._latest_time, time)
            self._clock_is_wrong = self._now() - time > AHEAD

    def verify(self, campaign: str, body: bytes) -> SignedManifest:
        """What the envelope in `body` says of this campaign, if enough of those who may have signed it.

        Raises:
            BadEnvelope: BAD_SIGNATURE, in every case but the next.
            BadManifest: what was signed breaks the contract.
        """
        if self._refusal:
            raise BadEnvelope(self._refusal)
        envelope = parse_envelope(body, limit=MANIFEST_LIMIT)
        keys = self._state.keys.trusted_keys if self._state.keys else None
        role = keys.airlines.get(self.airline) if keys else None
        if keys is None or role is None:
            raise BadEnvelope(f"no key is trusted for {self.airline!a}: provision LOADER_TRUSTED_KEYS")
        require_signatures(envelope, keys.public_keys(role), role.threshold)
        signed = read_signed_manifest(envelope.payload, SigningScope(self.airline, campaign, self.tail))
        if signed.summary.signed_at is not None:
            with self._lock:
                self._latest_time = max(self._latest_time, signed.summary.signed_at)
        return signed

    def accept(self, campaign: str, signed: SignedManifest) -> Manifest:
        """The manifest, if it may be used now; durably noted before it is given out.

        Raises:
            ContractError: ROLLBACK, EXPIRED, or its content is refused.
            WorldError: it could not be noted, so it may not be used.
        """
        with self._lock:
            state, now = self._state, self.trusted_time()
            min_version = self._min_version(state, campaign)
            try:
                manifest = check_acceptable(signed, min_version, now)
                state = state.with_accepted(self.airline, signed, campaign)
            finally:
                # Also of what is refused: a clock that is set back must not make it fresh again.
                self._save(_with_time(state, now, signed.summary.expires))
        return manifest

    def has_ended(self, manifest: Manifest) -> bool:
        """Whether its exhibition is over."""
        ends = manifest.exhibition.ends
        return ends is not None and ends < self.trusted_time().date()

    def is_for_this_tail(self, tails: Collection[str] | None) -> bool:
        """Whether a manifest with these tails is for this aircraft."""
        return tails is None or self.tail in tails

    # What is known.

    def _min_version(self, state: TrustState, campaign: str) -> int | None:
        """The version below which nothing is taken: as accepted before, or as held from a time without signatures."""
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

    # What is written down.

    def _load(self) -> None:
        try:
            states = _load_all(self._stores)
            self._state = _newest(states)
            if any(state.serial != self._state.serial for state in states):
                # One was added, or could not be written for a while; the others may be gone tomorrow.
                with contextlib.suppress(WorldError):
                    self._state = save_trust_state(self._stores, self._state)
        except (WorldError, BadEnvelope) as error:
            self._refusal = (
                f"what this loader knew of signatures cannot be read ({error}), so nothing is taken until an operator "
                f"has seen to it: {RESET}"
            )
            self._report(self._refusal)

    def _save(self, state: TrustState) -> None:
        """Note it in every directory, then go by it. Raises WorldError if none could be written."""
        if state is not self._state:
            self._state = save_trust_state(self._stores, state)

    def _report(self, text: str) -> None:
        if text != self._last_message:
            self._last_message = text
            if text:
                self._notify(text)


def _with_time(state: TrustState, now: datetime, expires: datetime | None) -> TrustState:
    """With this time, where it is worth writing down: it is much later, or something expired by it."""
    recorded = state.time or _NEVER
    expired = expires is not None and recorded < expires <= now
    return replace(state, time=now) if expired or now - recorded > TIME_STEP else state


def uses_tls(bucket: object) -> bool:
    """Whether what a bucket answers comes over TLS."""
    endpoint = getattr(bucket, "endpoint", "http:")  # in memory there is none; None is AWS's own
    return endpoint is None or str(endpoint).lower().startswith("https:")


def load_trust_state(stores: Sequence[ContentStore]) -> TrustState:
    """The newest of the notes. Raises WorldError or BadEnvelope if any of them is there and cannot be read."""
    return _newest(_load_all(stores))


def _load_all(stores: Sequence[ContentStore]) -> list[TrustState]:
    return [load_state(store.read_state(TRUST_STATE, TRUST_STATE_LIMIT)) for store in stores]


def _newest(states: Sequence[TrustState]) -> TrustState:
    return max(states, key=lambda state: state.serial, default=TrustState())


def save_trust_state(stores: Sequence[ContentStore], state: TrustState) -> TrustState:
    """Write a note into every directory that takes it; returns it as written. Raises WorldError if none does."""
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
