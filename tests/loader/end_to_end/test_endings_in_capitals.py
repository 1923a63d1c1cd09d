"""Items whose objects end in `.TGZ`, as tools on Windows upload them, are loaded."""

from __future__ import annotations

import hashlib
import json

import pytest

from fleet.simulation.proxy import FaultProxy
from loader.contract.keys import content_key, manifest_key
from tests.support.aircraft import AIRLINE, Aircraft

pytestmark = pytest.mark.processes
FILM = b"the film"


def put_manifest(aircraft: Aircraft, *names: str, hashed: bool = True) -> None:
    digest = {"sha256": hashlib.sha256(FILM).hexdigest()} if hashed else {}
    content = [{"name": name, "size": len(FILM), **digest} for name in names]
    aircraft.media.put(manifest_key(AIRLINE, "c"), json.dumps({"content": content}).encode())


@pytest.mark.parametrize("hashed", [True, False])
def test_an_item_is_loaded_from_an_object_with_another_ending(aircraft: Aircraft, hashed: bool) -> None:
    for key in ("MOVIE-1.TGZ", "movie-2.TGZ", "movie-3.Tgz"):
        aircraft.media.put(f"{AIRLINE}/c/{key}", FILM)
    put_manifest(aircraft, "MOVIE-1.TGZ", "movie-2.tgz", "movie-3.Tgz", hashed=hashed)
    assert aircraft.load().code == 0
    assert aircraft.progress("c") == dict.fromkeys(["MOVIE-1.TGZ", "movie-2", "movie-3.Tgz"], len(FILM))
    assert aircraft.path("c", "movie-2").read_bytes() == FILM
    assert aircraft.load().code == 0
    assert aircraft.errors() == {}


def test_the_ending_of_the_contract_comes_first(aircraft: Aircraft, link: FaultProxy) -> None:
    aircraft.media.put(content_key(AIRLINE, "c", "a"), FILM)
    aircraft.media.put(content_key(AIRLINE, "c", "b.TGZ"), FILM)
    aircraft.media.put(f"{AIRLINE}/c/a.TGZ", b"something else")
    aircraft.media.put(f"{AIRLINE}/c/b.TGZ", b"something else")
    put_manifest(aircraft, "a", "b.TGZ")
    assert aircraft.load().code == 0
    assert aircraft.path("c", "b.TGZ").read_bytes() == FILM
    assert link.requests("GET", "*.TGZ") == []


def test_an_object_with_no_such_ending_is_missing_under_the_name_of_the_contract(aircraft: Aircraft) -> None:
    put_manifest(aircraft, "MOVIE-1.TGZ")
    assert aircraft.load().code == 1
    assert aircraft.errors() == {"MOVIE-1.TGZ": "OBJECT_GONE: GET ACME/c/MOVIE-1.TGZ.tgz: the object does not exist"}
