"""`--on-loaded` of a real loader: failures of the command are reported until it succeeds."""

from __future__ import annotations

import json
import signal
from datetime import date
from pathlib import Path

from loader.contract.keys import queue_key
from loader.contract.manifest import Exhibition
from tests.support.aircraft import AIRLINE, TAIL, Aircraft, publish, wait_for_exit
from tests.support.portal_system import wait_until


def failing_for(tmp_path: Path, content: str) -> str:
    """Return a command that fails for one item."""
    script = tmp_path / "command"
    script.write_text(f'[ "$3" != {content} ] || {{ echo "no room" >&2; exit 7; }}\n')
    return f"/bin/sh {script}"


def test_a_failure_remains_reported_when_another_item_is_removed(aircraft: Aircraft, tmp_path: Path) -> None:
    not_yet = Exhibition(date(2999, 1, 1), date(2999, 1, 31))
    publish(aircraft.media, "c", {"a": b"one", "b": b"two"}, exhibition=not_yet)
    process = aircraft.start("--poll-interval", "200ms", "--on-loaded", failing_for(tmp_path, "a"))
    try:
        wait_until(lambda: aircraft.errors() and aircraft.progress("c") == {"a": 3, "b": 3})
        entries = [{"campaign": "c", "content": ["b"], "action": "purge"}, {"campaign": "c"}]
        aircraft.media.put(queue_key(AIRLINE, TAIL), json.dumps({"version": 1, "entries": entries}).encode())
        wait_until(lambda: aircraft.progress("c") == {"a": 3})
    finally:
        process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process).code == 75
    assert aircraft.errors() == {"a": "HOOK_FAILED: the command set with --on-loaded failed: exit status 7: no room"}
