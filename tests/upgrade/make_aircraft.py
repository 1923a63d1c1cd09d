"""Create the fixtures of an aircraft in the middle of a load: `python -m tests.upgrade.make_aircraft`.

They show what the loader of one commit leaves on disk and in the buckets. So they are created once, by that commit's
loader, and not again when the loader changes. A later commit adds fixtures under other names. `stopped.tar.xz`: the
loader was sent SIGTERM. `killed.tar.xz`: it then continued for a moment and was sent SIGKILL.
"""

from __future__ import annotations

import hashlib
import json
import signal
import tempfile
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.contract.manifest import Exhibition, Item, Manifest, build_manifest
from loader.signatures.trusted_keys import build_chain
from tests.support.portal_system import wait_for
from tests.support.signing_keys import keyring, signed_envelope, signed_version
from tests.upgrade.aircraft import BOOT_ID, FIXTURES, OLD_BOOT_ID, Aircraft, Objects, pack, set_boot
from tests.upgrade.contents import AIRLINE, FIRST, NEWEST, TAIL, build_body, content_key

SLOW = 300_000  # bytes per second and connection: slow enough that a large item uses several
ENOUGH = 200_000  # bytes of each unfinished item
FAILING_HOOK = '#!/bin/sh\ntest "$2" = show\n'
QUEUE = {
    "schema": 1,
    "version": 7,
    "entries": [
        {"campaign": "show", "action": "load", "priority": 100},
        {"campaign": "next", "action": "load", "priority": 50},
    ],
    "settings": {"bandwidth_limit": "500MB"},
}
SHOWN = Exhibition(date(2026, 1, 1), date(2099, 12, 31))


def publish(aircraft: Aircraft, items: Mapping[tuple[str, str], tuple[str, int]], campaign: str, version: int) -> None:
    """Put the objects of a campaign, then its signed manifest."""
    bodies = {name: build_body(*made) for (of, name), made in items.items() if of == campaign}
    for name, body in bodies.items():
        aircraft.media.put(content_key(campaign, name), body)
    listed = tuple(Item(name, len(body), hashlib.sha256(body).hexdigest()) for name, body in bodies.items())
    body = build_manifest(Manifest(listed, airline=AIRLINE, campaign=campaign, version=version, exhibition=SHOWN))
    aircraft.media.put(f"{AIRLINE}/{campaign}/campaign.json", body)
    aircraft.media.put(f"{AIRLINE}/{campaign}/campaign.json.dsse", signed_envelope(body, "sam"))


def make(aircraft: Aircraft, link: FaultProxy) -> None:
    """Load a first version, publish more, and end the loader in the middle of it, twice."""
    (aircraft.folder / "trusted.json").write_bytes(build_chain([signed_version(keyring(1), "rita")]))
    aircraft.write_hook(FAILING_HOOK)
    publish(aircraft, FIRST, "show", 1)
    code, printed = aircraft.load()
    assert code == 0, printed
    publish(aircraft, NEWEST, "show", 2)
    publish(aircraft, NEWEST, "next", 1)
    aircraft.media.put(content_key("next", "game"), bytes(NEWEST["next", "game"][1]))  # differs from the manifest
    aircraft.media.put(f"{AIRLINE}/.fleet/{TAIL}.json", json.dumps(QUEUE).encode())
    link.per_connection = SLOW
    end(aircraft, signal.SIGTERM, "stopped", lambda: is_midway(aircraft))
    lengths = {name: aircraft.part(*name).stat().st_size for name in (("show", "feature"), ("next", "song"))}
    end(
        aircraft,
        signal.SIGKILL,
        "killed",
        lambda: all(aircraft.part(*name).stat().st_size > length + 64_000 for name, length in lengths.items()),
    )


def is_midway(aircraft: Aircraft) -> bool:
    """Return whether every kind of state for the fixtures exists."""
    status = aircraft.status.read_all()
    prefix = f"{AIRLINE}/{TAIL}/next"
    plain = [aircraft.part("show", "feature"), aircraft.part("next", "song")]
    return (
        status.get(f"{prefix}/game.tgz.error", b"").startswith(b"HASH_MISMATCH")
        and status.get(f"{prefix}/clip.tgz.error", b"").startswith(b"HOOK_FAILED")
        and status.get(f"{prefix}/again.tgz.error", b"").startswith(b"HOOK_FAILED")
        and (aircraft.state / "beside/show/news.tgz").exists()
        and all(path.exists() and path.stat().st_size > ENOUGH for path in plain)
        and len(aircraft.part_state("next", "film").get("extents") or ()) > 1
    )


def end(aircraft: Aircraft, number: signal.Signals, name: str, due: Callable[[], bool]) -> None:
    """Run the loader until it is due, end it by this signal and write the fixture."""
    process = aircraft.start()
    try:
        wait_for(name, lambda: process.poll() is not None or due())
        assert process.poll() is None, process.communicate()
    finally:
        process.send_signal(number)
        process.communicate(timeout=30)
    set_boot(aircraft, OLD_BOOT_ID)
    pack(aircraft, FIXTURES / f"{name}.tar.xz")
    set_boot(aircraft, BOOT_ID.read_text().strip())


def main() -> None:
    """Create both fixtures with a separate store."""
    with (
        tempfile.TemporaryDirectory() as folder,
        SeaweedFS(Path(folder) / "store") as server,
        FaultProxy(server.endpoint) as link,
    ):
        for name in ("media", "reports"):
            server.create_bucket(name)
        store = server.environment()
        media, status = Objects("media", store), Objects("reports", store)
        aircraft = Aircraft(Path(folder), media, status, {**store, "AWS_ENDPOINT_URL_S3": link.endpoint})
        make(aircraft, link)


if __name__ == "__main__":
    main()
