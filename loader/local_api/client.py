"""Client for the loader's local HTTP API.

Used by `loader_status`, and an example for other programs. Touches the socket only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

from loader.local_api.unix_socket import connect_socket

TIMEOUT: Final = 10.0  # seconds for one response
STREAM_TIMEOUT: Final = 60.0  # seconds without a byte after which a stream is considered dead
SCHEMA: Final = 1  # of the status document
_LIMIT: Final = 64 * 1024 * 1024

StatusData = dict[str, object]


class LoaderNotRunning(Exception):
    """No loader responds; `str()` says why."""


class _Connection(http.client.HTTPConnection):
    """HTTP over the socket of a content directory."""

    def __init__(self, directory: Path, timeout: float) -> None:
        super().__init__("loader", timeout=timeout)
        self._directory, self._timeout_seconds = directory, timeout

    def connect(self) -> None:
        self.sock = connect_socket(self._directory, self._timeout_seconds)


@contextlib.contextmanager
def _request(directory: Path, path: str, timeout: float) -> Iterator[http.client.HTTPResponse]:
    connection = _Connection(directory, timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise LoaderNotRunning(f"the loader responded {response.status} {response.reason}")
        yield response
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise LoaderNotRunning(f"no loader is running in {directory}") from error
    except TimeoutError as error:
        raise LoaderNotRunning(f"the loader in {directory} does not respond") from error
    except PermissionError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise LoaderNotRunning(f"the connection to the loader in {directory} failed: {error}") from error
    finally:
        connection.close()


def fetch_status(directory: Path) -> StatusData:
    """Return the current status. Raises LoaderNotRunning, PermissionError."""
    with _request(directory, "/status", TIMEOUT) as response:
        return _object(response.read(_LIMIT))


def watch_status(directory: Path) -> Generator[StatusData, None, None]:
    """Yield the status, now and at each change, until the loader ends. Raises LoaderNotRunning, PermissionError."""
    status: StatusData = {}
    with _request(directory, "/events", STREAM_TIMEOUT) as response:
        for event, data in _events(response):
            if event == "end":
                return
            status = _apply_change(status, _object(data))
            yield status


def _events(response: http.client.HTTPResponse) -> Iterator[tuple[str, bytes]]:
    event, data = "", b""
    for line in iter(lambda: response.readline(_LIMIT), b""):
        name, _, value = line.rstrip(b"\r\n").partition(b": ")
        if name == b"event":
            event = value.decode()
        elif name == b"data":
            data = value
        elif not name and data:
            yield event, data
            event, data = "", b""


def _apply_change(status: StatusData, change: StatusData) -> StatusData:
    """Return the status after a change: its items replace those of the same name."""
    if change["full"]:
        return change
    changed = {_key(item): item for item in _rows(change)}
    return {**change, "full": True, "items": [changed.get(_key(item), item) for item in _rows(status)]}


def _rows(document: StatusData) -> list[StatusData]:
    rows = document["items"]
    if not isinstance(rows, list):
        raise ValueError("the response has no items")
    return rows


def _key(item: StatusData) -> tuple[object, object]:
    return item["campaign"], item["content"]


def _object(body: bytes) -> StatusData:
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("the response is not a JSON object")
    if document.get("schema") != SCHEMA:
        raise ValueError(f"the response is not a status of schema {SCHEMA}")
    return document
