"""The demo as a user sees it, with real processes: start, sign in, watch, stop, start again, kill."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from fleet.demo.aircraft import MANAGE
from ifeportal.embedded.processes import free_port
from tests.support.portal_system import PATIENCE

pytestmark = pytest.mark.processes
T = TypeVar("T")
STARTED = re.compile(r"Portal:\s+(\S+)")
LOGIN = re.compile(r"^    (ops|aurora|admin) +(\S+)", re.MULTILINE)


class Demo:
    """`manage.py demo` in its own folder, with three aircraft on fast links."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder.with_suffix(".out")
        self.process = self._start()
        self.address = self._wait_for(STARTED)[0]
        self.logins = dict(LOGIN.findall(self.text))

    def _start(self) -> subprocess.Popen[bytes]:
        options: list[str | Path] = [
            "--folder",
            self.folder,
            "--port",
            str(free_port()),
            "--aircraft",
            "3",
            "--speed",
            "12",
        ]
        command: list[str | Path] = [sys.executable, MANAGE, "demo", *options]
        with self.output.open("wb") as output:
            return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def text(self) -> str:
        return self.output.read_text()

    def _wait_for(self, pattern: re.Pattern[str], seconds: float = 2 * PATIENCE) -> tuple[str, ...]:
        def found() -> tuple[str, ...] | None:
            assert self.process.poll() is None, self.text
            match = pattern.search(self.text)
            return match.groups() if match else None

        return wait_until(found, seconds, lambda: self.text)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(2 * PATIENCE)

    def left_over(self) -> list[str]:
        """Return the processes with the folder in their arguments or environment."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
                alive = (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
            except OSError:
                continue
            if alive and os.fsencode(self.folder) in words and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        return found


def wait_until(ready: Callable[[], T | None], seconds: float, tell: Callable[[], object]) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := ready()) is not None:
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {tell()}")


class Browser:
    """A minimal browser that can sign in."""

    def __init__(self, demo: Demo, name: str) -> None:
        self.address = demo.address
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies))
        page = self.get("login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token
        form = {"login": name, "password": demo.logins[name], "csrfmiddlewaretoken": token[1]}
        self._opener.open(f"{self.address}login/", urllib.parse.urlencode(form).encode()).close()

    def get(self, path: str) -> str:
        with self._opener.open(f"{self.address}{path}", timeout=PATIENCE) as answer:
            return str(answer.read().decode())

    def rows(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.get(f"api/v1/{path}"))["results"]
        return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path / "demo")
    yield demo
    if demo.process.poll() is None:
        demo.end(signal.SIGTERM)


@pytest.mark.slow("runs the complete demo, stops it and continues it")
def test_the_demo_loads_stops_and_goes_on_where_it_was(demo: Demo) -> None:
    ops = Browser(demo, "ops")

    def moved() -> list[dict[str, Any]] | None:
        return [row for row in ops.rows("loads/") if row["bytes_done"]] or None

    assert wait_until(moved, 2 * PATIENCE, lambda: demo.text)
    wait_until(lambda: any(row["bytes_done"] for row in ops.rows("uploads/")) or None, 2 * PATIENCE, lambda: demo.text)
    wait_until(lambda: ops.rows("transfers/?status=complete") or None, 2 * PATIENCE, lambda: demo.text)
    failed = wait_until(lambda: ops.rows("transfers/?status=failed") or None, 2 * PATIENCE, lambda: demo.text)
    assert {(row["tail"], row["error_code"]) for row in failed} == {("G-MRDB", "HASH_MISMATCH")}
    assert "SE-RNA" in ops.get("airlines/AUR/")
    assert {row["airline"] for row in Browser(demo, "aurora").rows("loads/")} == {"AUR"}
    assert demo.left_over()
    for path in (demo.folder, *(demo.folder / name for name in ("secrets.json", "store/keys.json", "store/s3.json"))):
        assert path.stat().st_mode & 0o077 == 0

    assert demo.end(signal.SIGINT) == 0
    assert demo.left_over() == []
    assert "Traceback" not in demo.text

    again = Demo(demo.folder)
    try:
        assert again.logins == demo.logins
        assert Browser(again, "ops").rows("transfers/?status=complete")
        with pytest.raises(AssertionError, match=r"already runs in"):
            Demo(demo.folder)
    finally:
        again.process.kill()
        again.process.wait()
    wait_until(lambda: None if again.left_over() else True, PATIENCE, again.left_over)
