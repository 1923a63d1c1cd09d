"""Vendored files are unmodified: every file is listed, with its hash and its licence."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

VENDOR = Path(settings.BASE_DIR) / "ifeportal" / "static" / "vendor"
LIBRARIES: list[dict[str, Any]] = json.loads((VENDOR / "manifest.json").read_text())["libraries"]


def named() -> dict[str, str]:
    return {name: integrity for library in LIBRARIES for name, integrity in library["files"].items()}


def test_every_vendored_file_is_named_and_every_named_one_is_there() -> None:
    there = {str(path.relative_to(VENDOR)) for path in VENDOR.rglob("*") if path.is_file()}
    assert there - {"manifest.json"} == named().keys()


@pytest.mark.parametrize("name", sorted(named()))
def test_vendored_files_match_their_published_bytes(name: str) -> None:
    digest = hashlib.sha384((VENDOR / name).read_bytes()).digest()
    assert named()[name] == f"sha384-{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: str(library["name"]))
def test_its_version_licence_and_source_are_listed(library: dict[str, Any]) -> None:
    home = f"{library['name']}-{library['version']}"
    assert all(name.startswith(f"{home}/") for name in library["files"])
    assert f"{home}/LICENSE" in library["files"]
    assert library["licence"] in (VENDOR / home / "LICENSE").read_text()
    assert library["source"] == f"/{library['name']}/-/{home}.tgz"
    assert library["integrity"].startswith("sha512-")
