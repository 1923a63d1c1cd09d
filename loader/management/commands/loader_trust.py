"""`manage.py loader_trust`: show or reset the trust state that a loader stores about signed manifests."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from loader.config import SettingsError, read_content_dirs
from loader.contract.strict_json import format_utc
from loader.errors import Code, ExitCode, WorldError
from loader.media.manifest_verifier import load_trust_state, save_trust_state
from loader.signatures.dsse import BadEnvelope
from loader.signatures.trust_state import AcceptedVersions, TrustState
from loader.storage.content_store import ContentStore

PARTS: Final = ("signed", "versions", "time", "keys")


class Command(BaseCommand):
    help = (
        "Show or reset the trust state of the loader with these content directories. The state has four parts: "
        "signed (signed campaigns were accepted, so unsigned ones are refused), versions (the highest version of each "
        "campaign), time (the newest trusted time) and keys (the current version of the trusted keys). "
        "reset without --only resets everything, including a damaged state. Each part protects against an attack, so "
        "only an operator should reset it. The loader must not be running. "
        "Exit: 0 done, 2 invalid options or a directory that cannot be used, 3 the state is damaged, 4 the loader is "
        "running."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=("show", "reset"))
        parser.add_argument(
            "--content-dir",
            action="append",
            metavar="DIR",
            help="content directory; give all of the loader's (default: LOADER_CONTENT_DIR)",
        )
        parser.add_argument(
            "--only", action="append", choices=PARTS, help="reset only this part; may be given more than once"
        )

    def handle(self, *args: object, **options: Any) -> None:
        try:
            paths = read_content_dirs(options["content_dir"], os.environ)
        except SettingsError as error:
            raise CommandError(str(error), returncode=ExitCode.USAGE) from error
        if missing := [str(path) for path in paths if not path.is_dir()]:
            raise CommandError(f"--content-dir: {missing[0]} is not a directory.", returncode=ExitCode.USAGE)
        with contextlib.ExitStack() as stack:
            try:
                stores = [ContentStore(path) for path in paths]
                for store in stores:
                    stack.callback(store.close)
                if options["action"] == "reset":
                    self._reset(stores, options["only"] or [])
                self.stdout.write(json.dumps(_shown(load_trust_state(stores)), indent=1, ensure_ascii=False))
            except WorldError as error:
                code = ExitCode.REFUSED if error.code == Code.IO_ERROR else ExitCode.USAGE
                raise CommandError(f"{error.code}: {error}.", returncode=code) from error
            except BadEnvelope as error:
                raise CommandError(f"The trust state cannot be read: {error}.", returncode=ExitCode.REFUSED) from error

    def _reset(self, stores: Sequence[ContentStore], only: Sequence[str]) -> None:
        if not all(store.lock() for store in stores):
            raise CommandError("The loader is running. Stop it first.", returncode=ExitCode.HELD)
        state = load_trust_state(stores) if only else TrustState(serial=max(_serial(store) for store in stores))
        save_trust_state(stores, _without(state, only))


def _serial(store: ContentStore) -> int:
    """Return the serial of the stored state; 0 if it cannot be read."""
    try:
        return load_trust_state([store]).serial
    except (WorldError, BadEnvelope):
        return 0


def _without(state: TrustState, only: Sequence[str]) -> TrustState:
    def reset(accepted: AcceptedVersions) -> AcceptedVersions:
        accepted = replace(accepted, signed=accepted.signed and "signed" not in only)
        # Versions installed before signatures were on must not count again either.
        return replace(accepted, versions={}, reset_by_rotation=True) if "versions" in only else accepted

    state = replace(state, airlines={name: reset(accepted) for name, accepted in state.airlines.items()})
    state = replace(state, time=None) if "time" in only else state
    return replace(state, keys=None) if "keys" in only else state


def _shown(state: TrustState) -> dict[str, object]:
    return {
        "time": format_utc(state.time) if state.time else None,
        "keys": state.keys.trusted_keys.version if state.keys else None,
        "airlines": {
            name: {"signed": accepted.signed, "versions": dict(sorted(accepted.versions.items()))}
            for name, accepted in sorted(state.airlines.items())
        },
    }
