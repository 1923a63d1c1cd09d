"""HTTP/1.1 as the proxy reads and writes it: heads, bodies with a length, in chunks, or to the end. No Django."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from fleet.simulation.faults import Chunks, HangUp, Head, pieces
from fleet.simulation.link import BLOCK_SIZE

Headers = list[tuple[str, str]]


async def read_head(reader: asyncio.StreamReader) -> tuple[bytes, Headers]:
    """Return the first line and the headers as received."""
    raw = await reader.readuntil(b"\r\n\r\n")
    line, *lines = raw[:-4].split(b"\r\n")
    pairs = (header.decode("latin-1").partition(":") for header in lines)
    return line, [(name, value.strip()) for name, _, value in pairs]


async def read_response(reader: asyncio.StreamReader, method: str) -> tuple[Head, Chunks]:
    line, pairs = await read_head(reader)
    headers = dict(pairs)
    head = Head(int(line.split(b" ")[1]), headers)
    length, encoding = head.find("Content-Length"), head.find("Transfer-Encoding")
    for name in ("Content-Length", "Transfer-Encoding", "Connection"):
        head.drop(name)
    if method == "HEAD" or head.status in (204, 304):
        head.length = int(length or 0)
        return head, pieces(b"")
    if encoding:
        head.length = None
        return head, _chunked(reader)
    head.length = int(length) if length else None
    return head, _plain(reader, head.length)


async def _plain(reader: asyncio.StreamReader, length: int | None) -> Chunks:
    left = length
    while left is None or left:
        block = await reader.read(BLOCK_SIZE if left is None else min(BLOCK_SIZE, left))
        if not block:
            if left:
                raise HangUp  # the store closed early, so the proxy does too
            return
        left = None if left is None else left - len(block)
        yield block


async def _chunked(reader: asyncio.StreamReader) -> Chunks:
    while size := int((await reader.readline()).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)


def format_head(line: bytes, headers: Headers) -> bytes:
    return line + b"".join(f"\r\n{name}: {value}".encode("latin-1") for name, value in headers) + b"\r\n\r\n"


def phrase_of(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
