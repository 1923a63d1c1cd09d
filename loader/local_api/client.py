"""The other side of the door: how a program aboard asks the loader of a content directory what it is about.

For `loader_status` and as an example for others. Touches the socket only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

from loader.local_api.unix_socket import reach

TIMEOUT: Final = 10.0  # seconds for one answer
QUIET: Final = 60.0  # seconds without a sign of life after which a stream is taken to be dead
_LIMIT: Final = 64 * 1024 * 1024

Status = dict[str, object]


class NobodyHomeError(Exception):
    """No loader answers; `str()` says why."""


class _Connection(http.client.HTTPConnection):
    """HTTP over the socket of a content directory."""

    def __init__(self, directory: Path, timeout: float) -> None:
        super().__init__("loader", timeout=timeout)
        self._directory, self._patience = directory, timeout

    def connect(self) -> None:
        self.sock = reach(self._directory, self._patience)


@contextlib.contextmanager
def _asked(directory: Path, path: str, timeout: float) -> Iterator[http.client.HTTPResponse]:
    connection = _Connection(directory, timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise NobodyHomeError(f"the loader answered {response.status} {response.reason}")
        yield response
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise NobodyHomeError(f"no loader is at work in {directory}") from error
    except TimeoutError as error:
        raise NobodyHomeError(f"the loader of {directory} does not answer") from error
    except PermissionError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NobodyHomeError(f"the loader of {directory} broke off: {error}") from error
    finally:
        connection.close()


def status(directory: Path) -> Status:
    """All of it, now. Raises NobodyHomeError, PermissionError."""
    with _asked(directory, "/status", TIMEOUT) as response:
        return _object(response.read(_LIMIT))


def watch(directory: Path) -> Generator[Status, None, None]:
    """All of it, now and at each change, until the loader ends. Raises NobodyHomeError, PermissionError."""
    known: Status = {}
    with _asked(directory, "/events", QUIET) as response:
        for event, data in _events(response):
            if event == "end":
                return
            known = _taken_up(known, _object(data))
            yield known


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


def _taken_up(known: Status, news: Status) -> Status:
    """What is known after a change: its items take the place of those of the same name."""
    if news["full"]:
        return news
    changed = {_key(item): item for item in _rows(news)}
    return {**news, "full": True, "items": [changed.get(_key(item), item) for item in _rows(known)]}


def _rows(told: Status) -> list[Status]:
    rows = told["items"]
    if not isinstance(rows, list):
        raise ValueError("its answer has no items")
    return rows


def _key(item: Status) -> tuple[object, object]:
    return item["campaign"], item["content"]


def _object(body: bytes) -> Status:
    told = json.loads(body)
    if not isinstance(told, dict):
        raise ValueError("its answer is no JSON object")
    return told
