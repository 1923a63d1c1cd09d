"""XML of the responses about multipart uploads, as typed values. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from xml.etree import ElementTree

from loader.errors import Code, WorldError
from loader.s3.http.xml import namespace, parse_root


def parse_response(body: bytes, expected: Collection[str], what: str) -> ElementTree.Element:
    """Return the root element of a response, which must have one of these names. Raises WorldError."""
    try:
        return parse_root(body.decode("utf-8-sig").strip(), expected)
    except ValueError as error:
        raise WorldError(Code.NETWORK, f"{what}: the response is not from an object store") from error


def optional_text(element: ElementTree.Element, name: str) -> str:
    """Return the text of a child element, "" without one."""
    return element.findtext(f"{namespace(element)}{name}") or ""


def required_text(element: ElementTree.Element, name: str, what: str) -> str:
    """Return the text of a child element. Raises WorldError without one."""
    text = optional_text(element, name)
    if not text:
        raise WorldError(Code.NETWORK, f"{what}: the response has no {name}, so it is not from an object store")
    return text


def required_number(element: ElementTree.Element, name: str, what: str) -> int:
    """Return the number in a child element. Raises WorldError without one."""
    text = required_text(element, name, what)
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise WorldError(Code.NETWORK, f"{what}: the response has an invalid number")
    return int(text)
