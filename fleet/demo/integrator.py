"""A simulated content integrator: a program that uploads films through the portal's API over a slow line.

A thread of the demo. Touches the portal and the object store by HTTP, as any program outside would: it begins an
upload, has each part signed, sends it to the store, and completes the upload. Each start of the demo continues what was
interrupted, or uploads the next film.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlencode

from fleet.demo.scenario import DemoCampaign, Film
from loader.contract.units import MIB

TIMEOUT: Final = 20.0  # seconds without a byte
BLOCK: Final = 64 * 1024  # bytes sent at once
PAUSE: Final = 3.0  # seconds after an error, then longer
LONGEST_PAUSE: Final = 30.0
PART: Final = 16 * MIB  # the portal's part size for files of this size
UNFINISHED: Final = ("pending", "loading")
OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # only addresses of this machine


class Stopped(Exception):
    """The demo stops."""


class Rejected(Exception):
    """The portal rejects a request for good; `str()` says why."""


def part_of(film: Film, number: int, part_size: int) -> bytes:
    """Return the bytes of a part: noise, the same every time, so that no file is needed."""
    size = min(part_size, film.size - (number - 1) * part_size)
    return _noise(f"{film.name}/{number}", size)


@lru_cache(maxsize=1)
def _noise(seed: str, size: int) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311


def sum_of(part: bytes) -> str:
    """Return the SHA-256 in Base64, as the portal and the store want it."""
    return base64.b64encode(hashlib.sha256(part).digest()).decode()


def choose_film(films: Sequence[Film], uploads: Sequence[Mapping[str, Any]]) -> Film:
    """Return the film to upload: the unfinished one, else the first that was never uploaded, else the oldest.

    `uploads` are the rows of the API, the newest first.
    """
    newest: dict[str, Mapping[str, Any]] = {}
    for row in uploads:
        newest.setdefault(row["name"], row)
    for film in films:
        if _is_unfinished(newest.get(film.name)):
            return film
    return min(films, key=lambda film: newest[film.name]["created_at"] if film.name in newest else "")


def _is_unfinished(row: Mapping[str, Any] | None) -> bool:
    return row is not None and row["status"] in UNFINISHED and not row["completed_at"]


class PortalClient:
    """The requests of the API. A request that fails is repeated until the demo stops."""

    def __init__(self, address: str, token: str, stop: threading.Event, rate: float) -> None:
        self._address = f"{address}api/v1/uploads/"
        self._token = token
        self._stop = stop
        self._rate = rate

    def call(self, method: str, path: str = "", body: object = None) -> Any:
        """Return the JSON of the response. Raises Rejected, Stopped."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._address}{path}", data, headers, method=method)  # noqa: S310
        return self._repeat(lambda: self._read(request))

    def send(self, upload: str, number: int, part: bytes) -> None:
        """Have a part signed and send it to the store, at the rate of the line. Raises Rejected, Stopped."""
        self._repeat(lambda: self._send(upload, number, part))

    def _send(self, upload: str, number: int, part: bytes) -> None:
        signed = self.call("POST", f"{upload}/parts/", {"parts": [{"number": number, "sha256": sum_of(part)}]})
        one = signed["parts"][0]
        request = urllib.request.Request(  # noqa: S310
            one["url"], self._slowly(part), {**one["headers"], "Content-Length": str(len(part))}, method=one["method"]
        )
        with OPENER.open(request, timeout=TIMEOUT):
            pass

    def _slowly(self, part: bytes) -> Iterator[bytes]:
        for start in range(0, len(part), BLOCK):
            block = part[start : start + BLOCK]
            if self._stop.wait(len(block) / self._rate):
                raise Stopped
            yield block

    def _read(self, request: urllib.request.Request) -> Any:
        with OPENER.open(request, timeout=TIMEOUT) as response:
            return json.load(response)

    def _repeat(self, attempt: Callable[[], Any]) -> Any:
        pause = PAUSE
        while not self._stop.is_set():
            try:
                return attempt()
            except HTTPError as error:
                _raise_if_final(error)
            except (OSError, HTTPException):
                pass  # the portal or the store restarts
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        raise Stopped


def _raise_if_final(error: HTTPError) -> None:
    """Raise Rejected unless a repetition can help: of a part whose signature the store refuses, a new signature may."""
    if error.code in (400, 401, 404, 409, 413):
        raise Rejected(f"{error.code} {error.read(500).decode(errors='replace')}") from error


class Integrator:
    """Uploads one film in a thread. `say` is called with messages about it; `rate` in bytes per second."""

    def __init__(
        self, address: str, token: str, films: Sequence[Film], to: DemoCampaign, say: Callable[[str], None], rate: float
    ) -> None:
        self._films, self._to, self._say = films, to, say
        self._stop = threading.Event()
        self._portal = PortalClient(address, token, self._stop, rate)
        self._thread = threading.Thread(target=self._run, name="integrator", daemon=True)

    def start(self) -> None:
        """Start the upload."""
        self._thread.start()

    def close(self) -> None:
        """Stop at once, also in the middle of a part. The next start continues after the last complete part."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(2 * TIMEOUT)

    def _run(self) -> None:
        try:
            self._upload(choose_film(self._films, self._uploads()))
        except Rejected as error:
            self._say(f"The integrator's upload was rejected: {error}")
        except Stopped:
            pass

    def _upload(self, film: Film) -> None:
        upload = self._unfinished(film) or self._begin(film)
        self._say(f"A content integrator uploads {film.name} to the campaign {self._to.name}.")
        parts = self._portal.call("GET", f"{upload['id']}/parts/")["parts"]
        present = {part["number"] for part in parts}
        for number in range(1, upload["parts_total"] + 1):
            if number not in present:
                self._portal.send(upload["id"], number, part_of(film, number, upload["part_size"]))
        self._portal.call("POST", f"{upload['id']}/complete/")
        self._say(f"The integrator has sent all of {film.name}. The portal checks it and adds it to the draft.")

    def _begin(self, film: Film) -> Any:
        body = {
            "airline": self._to.airline,
            "campaign": self._to.name,
            "name": film.name,
            "size": film.size,
            "content_type": "video/mp4",
            "kind": "movie",
            "first_part_sha256": sum_of(part_of(film, 1, PART)),
            "replace": True,
        }
        return self._portal.call("POST", body=body)

    def _unfinished(self, film: Film) -> Any:
        return next((row for row in self._uploads() if row["name"] == film.name and _is_unfinished(row)), None)

    def _uploads(self) -> list[dict[str, Any]]:
        query = urlencode({"campaign": self._to.name, "mine": "true", "page_size": 100})
        rows: list[dict[str, Any]] = self._portal.call("GET", f"?{query}")["results"]
        return rows
