"""The systemd unit and its documentation match the code, and systemd accepts the unit."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from loader.config import OPTIONS
from loader.contract.manifest import Item
from loader.local_api.service import ROUTES
from loader.monitor.events import PlanChanged
from loader.monitor.status_board import StatusBoard
from loader.planning.model import PlanStep
from tests.support.aircraft import ROOT

PAGES = ROOT / "docs" / "loader"
UNIT = PAGES / "ife-loader.service"


@pytest.fixture
def unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found[name].append(value)
    return found


def test_the_unit_ends_and_watches_the_loader_as_it_is_made_for(unit: dict[str, list[str]]) -> None:
    assert unit["Type"] == ["notify"]
    assert unit["KillMode"] == ["mixed"]
    assert unit["ExecStart"] == ["/opt/ifeportal/.venv/bin/python manage.py run_loader"]
    assert unit["RestartPreventExitStatus"] == ["2"]
    assert unit["SuccessExitStatus"] == ["75"]
    assert unit["StartLimitIntervalSec"] == ["0"]


def test_every_variable_of_the_unit_and_the_guide_is_a_loader_variable() -> None:
    known = {option.variable for option in OPTIONS}
    for page in (UNIT, PAGES / "install.md", PAGES / "socket.md"):
        assert set(re.findall(r"LOADER_[A-Z_]+", page.read_text())) <= known, page


def test_the_unit_and_the_guide_agree_on_paths_users_and_secrets(unit: dict[str, list[str]]) -> None:
    guide = (PAGES / "install.md").read_text()
    credential = unit["LoadCredential"][0].partition(":")[2]
    for there in (*unit["EnvironmentFile"], credential, *unit["WorkingDirectory"], *unit["ReadWritePaths"]):
        assert there in guide
    assert f"--gid {unit['Group'][0]} {unit['User'][0]}" in guide
    assert "AWS_SECRET" not in UNIT.read_text()


def test_the_page_names_every_request_and_every_field() -> None:
    page = (PAGES / "socket.md").read_text()
    for path, method in ROUTES.items():
        assert f"`{method} {path}`" in page
    board = StatusBoard("ACME", "N1")
    board.handle(PlanChanged([PlanStep("c", Item("a", 1), "fetch", 0)], {}, {}))
    state = board.snapshot()
    rows = [state, *_objects(state["campaigns"]), *_objects(state["items"]), *_objects([state["link"], state["queue"]])]
    for field in {name for row in rows for name in row}:
        assert f"`{field}`" in page, field


def _objects(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_finds_nothing_wrong_with_the_unit_and_little_exposed(tmp_path: Path) -> None:
    text = UNIT.read_text().replace("/opt/ifeportal/.venv/bin/python", sys.executable)
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace("/opt/ifeportal", str(ROOT)))
    verified = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(copy)]
    secured = subprocess.run(command, capture_output=True, text=True, check=False)
    assert secured.returncode == 0, secured.stdout
