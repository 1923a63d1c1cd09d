"""Hostile manifests and names: rejected as a unit, reported, and no file is written outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet.simulation.proxy import FaultProxy
from tests.support.aircraft import AIRLINE, TAIL, Aircraft, publish

pytestmark = pytest.mark.processes


def listing(*names: str) -> bytes:
    return json.dumps([{"name": name, "size": 1} for name in names]).encode()


MANIFESTS: dict[str, tuple[str, bytes]] = {
    "not-json": ("BAD_MANIFEST", b"<html>"),
    "empty": ("BAD_MANIFEST", b""),
    "wrong-utf-8": ("BAD_MANIFEST", b'[{"name": "\xff", "size": 1}]'),
    "nan": ("BAD_MANIFEST", b'[{"name": "a", "size": NaN}]'),
    "negative": ("BAD_MANIFEST", b'[{"name": "a", "size": -1}]'),
    "huge": ("BAD_MANIFEST", b'[{"name": "a", "size": 18446744073709551616}]'),
    "twice": ("BAD_MANIFEST", b'[{"name": "a", "size": 1, "size": 2}]'),
    "deep": ("BAD_MANIFEST", b"[" * 100_000),
    "long": ("BAD_MANIFEST", b" " * 6_000_000 + b"[]"),
    "many": ("BAD_MANIFEST", listing(*(str(at) for at in range(10_001)))),
    "foreign": ("BAD_MANIFEST", b'{"airline": "BETA", "content": []}'),
    "another": ("BAD_MANIFEST", b'{"campaign": "2026-12", "content": []}'),
    "same-name": ("BAD_MANIFEST", listing("Movie", "movie")),
    "up": ("BAD_NAME", listing("good", "../../up")),
    "absolute": ("BAD_NAME", listing("/etc/cron.d/x")),
    "backslash": ("BAD_NAME", listing("..\\x")),
    "null": ("BAD_MANIFEST", listing("a\0b")),
    "newline": ("BAD_NAME", listing("a\nb")),
    "dots": ("BAD_NAME", listing("..")),
    "hidden": ("BAD_NAME", listing(".loader")),
    "dash": ("BAD_NAME", listing("-rf")),
    "blank": ("BAD_NAME", listing("a ")),
    "too-long": ("BAD_NAME", listing("é" * 101)),
    "part": ("BAD_NAME", listing("a.part")),
    "bidi": ("BAD_NAME", listing("a\u202egzt")),
}


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_every_hostile_manifest_is_refused_and_the_good_campaign_is_loaded(
    aircraft: Aircraft, link: FaultProxy, tmp_path: Path
) -> None:
    for campaign, (_, body) in MANIFESTS.items():
        aircraft.media.put(f"{AIRLINE}/{campaign}/campaign.json", body)
        aircraft.media.put(f"{AIRLINE}/{campaign}/good.tgz", b"x")
    publish(aircraft.media, "sound", {"movie": b"content"})
    run = aircraft.load()
    assert run.code == 1
    assert aircraft.path("sound", "movie").read_bytes() == b"content"
    assert {name: text.partition(":")[0] for name, text in aircraft.errors().items()} == {
        campaign: code for campaign, (code, _) in MANIFESTS.items()
    }
    asked = {request.path.rpartition("/")[2] for request in link.requests("GET")}
    assert asked == {f"{TAIL}.json", "campaign.json", "movie.tgz"}
    assert max(request.sent for request in link.requests("GET")) <= 5 * 1_048_576
    assert [name for name in everything(tmp_path) if not name.startswith("content")] == []
    assert [path.name for path in aircraft.folder.iterdir() if path.name != ".loader"] == ["sound"]

    for campaign in MANIFESTS:
        publish(aircraft.media, campaign, {"good": b"x"}, version=2)
    assert aircraft.load().code == 0
    assert aircraft.errors() == {}


def test_prefixes_that_are_no_names_are_left_alone(aircraft: Aircraft) -> None:
    publish(aircraft.media, "sound", {"movie": b"content"})
    for prefix in (f"{AIRLINE}/ blank", f"{AIRLINE}/.fleet", f"{AIRLINE}/tab\tbed"):
        aircraft.media.put(f"{prefix}/campaign.json", b'[{"name": "a", "size": 1}]')
    run = aircraft.load()
    assert run.code == 0
    assert len(run.of("prefix")) == 2
    assert [path.name for path in aircraft.folder.iterdir() if path.name != ".loader"] == ["sound"]


def test_campaigns_that_differ_only_in_case_are_both_refused(aircraft: Aircraft) -> None:
    for campaign in ("Sound", "sound", "other"):
        publish(aircraft.media, campaign, {"movie": b"content"})
    assert aircraft.load().code == 1
    assert [path.name for path in aircraft.folder.iterdir() if path.name != ".loader"] == ["other"]
    assert {name: text.partition(":")[0] for name, text in aircraft.errors().items()} == {
        "Sound": "BAD_NAME",
        "sound": "BAD_NAME",
    }


def test_an_obstacle_on_disk_fails_one_item_only(aircraft: Aircraft, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    publish(aircraft.media, "c", {"taken": b"1", "linked": b"2", "free": b"3"})
    publish(aircraft.media, "led astray", {"a": b"4"})
    aircraft.path("c", "taken").mkdir(parents=True)
    aircraft.path("c", "linked").symlink_to(elsewhere / "victim")
    (aircraft.folder / "led astray").symlink_to(elsewhere)
    assert aircraft.load().code == 1
    assert aircraft.path("c", "free").read_bytes() == b"3"
    assert aircraft.path("c", "linked").read_bytes() == b"2"
    assert not aircraft.path("c", "linked").is_symlink()
    assert everything(elsewhere) == []
    errors = aircraft.errors()
    assert set(errors) == {"taken", "a"}
    assert all(text.startswith("IO_ERROR: ") and str(tmp_path) not in text for text in errors.values())
