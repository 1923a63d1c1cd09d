"""A browser sends parts of a file directly to the store, with the headers that were signed, where CORS permits it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from loader.s3.client import S3Bucket
from loader.s3.cors import upload_rule
from tests.support.scripted_store import Reply, ScriptedStore

KEY = "ACME/.incoming/1/data"
FILE = bytes(range(256)) * 24_576  # 6 MiB: two parts
PART = 5 * 1024 * 1024
SEND = """async ([selector, start, end, request]) => {
  const file = document.querySelector(selector).files[0];
  const headers = Object.entries(request.headers).filter(([name]) => name !== "Content-Length");
  try {
    const answer = await fetch(request.url, {
      method: request.method, body: file.slice(start, end), headers: Object.fromEntries(headers),
    });
    return [answer.status, answer.headers.get("ETag")];
  } catch (error) {
    return [0, String(error)];
  }
}"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a page of another origin than the store, with a file to send."""
    with ScriptedStore() as site:
        site.answers(Reply(200, b"<!doctype html><input type=file id=f>", {"Content-Type": "text/html"}))
        context = browser.new_context()
        page = context.new_page()
        page.goto(site.endpoint)
        page.set_input_files("#f", {"name": "film.mp4", "mimeType": "video/mp4", "buffer": FILE})
        yield page
        context.close()


def test_a_slice_of_a_file_is_a_signed_part(page: Page, media: S3Bucket) -> None:
    origin: str = page.evaluate("location.origin")
    media.put_cors([upload_rule([origin])])
    upload = media.begin_upload(KEY, checksums=True)

    def send(number: int, start: int, end: int, *, signed: int | None = None) -> list[Any]:
        sha256 = base64.b64encode(hashlib.sha256(FILE[start:end]).digest()).decode()
        request = upload.sign_part(number, signed or end - start, sha256=sha256)
        row = {"url": request.url, "method": request.method, "headers": dict(request.headers)}
        found: list[Any] = page.evaluate(SEND, ["#f", start, end, row])
        return found

    assert send(1, 0, PART) == [200, f'"{hashlib.md5(FILE[:PART]).hexdigest()}"']
    assert send(2, PART, len(FILE))[0] == 200
    assert [(part.number, part.size) for part in upload.list_parts()] == [(1, PART), (2, len(FILE) - PART)]
    # The store answers 403, to which the browser lets the page see the status only.
    assert send(3, 0, 100, signed=101)[0] in (0, 403)
    media.put_cors([upload_rule(["http://other.example.org"])])
    assert send(4, 0, 100)[0] == 0
    assert len(upload.list_parts()) == 2
