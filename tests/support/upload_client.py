"""A program that uploads files: the calls of the API over HTTP, and parts straight to the store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

from tests.support.portal_system import PATIENCE


@dataclass(frozen=True)
class UploadClient:
    """A client with a token. Its methods raise HTTPError for a response that is not a success."""

    address: str
    token: str

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request below /api/v1/. Return the JSON of the response."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        url = f"{self.address}/api/v1/{path}"
        request = Request(url, data=data, headers=headers, method=method)
        with urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def create(self, name: str, body: bytes, **fields: Any) -> Any:
        """Create an upload. Return it."""
        return self.call("POST", "uploads/", {"airline": "ACME", "name": name, "size": len(body), **fields})

    def send(self, upload: Any, body: bytes) -> Any:
        """Have all parts signed, send them and complete the upload. Return it."""
        size = upload["part_size"]
        numbers = [{"number": number + 1} for number in range(upload["parts_total"])]
        signed = self.call("POST", f"uploads/{upload['id']}/parts/", {"parts": numbers})
        for part in signed["parts"]:
            start = (part["number"] - 1) * size
            data = body[start : start + size]
            request = Request(part["url"], data=data, headers=part["headers"], method=part["method"])
            with urlopen(request, timeout=PATIENCE) as answer:
                answer.read()
        return self.call("POST", f"uploads/{upload['id']}/complete/")

    def upload(self, name: str, body: bytes, **fields: Any) -> Any:
        """Upload the file. Return the upload as the last call shows it."""
        return self.send(self.create(name, body, **fields), body)

    def state(self, upload: Any) -> Any:
        return self.call("GET", f"uploads/{upload['id']}/")
