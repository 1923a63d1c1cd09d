"""XML of a store's responses, within limits of depth, elements and tags. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from xml.etree import ElementTree
from xml.parsers import expat

MAX_DEPTH: Final = 8  # S3 needs 4
MAX_ELEMENTS: Final = 25_000  # 1,000 objects with every optional field have 20,000
_LONG_TAG: Final = re.compile(r"<[^<>]{8192}")


def parse_root(text: str, names: Collection[str]) -> ElementTree.Element:
    """Return the root element, whose local name must be one of `names`. Raises ValueError with a reason.

    Memory is limited: an element of a tree takes a hundred times as much as it takes in the text.
    """
    # Entities, which may expand to gigabytes, need a document type.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("it declares a document type")
    try:
        _check_limits(text)
        root = ElementTree.fromstring(text)  # noqa: S314  see above
    except (ElementTree.ParseError, expat.ExpatError) as error:
        raise ValueError("it is not XML") from error
    if local_name(root) not in names:
        raise ValueError(f"its root element is not {' or '.join(names)}")
    return root


def _check_limits(text: str) -> None:
    """Parse without building anything. Raises ValueError beyond the limits, ExpatError for what is not XML."""
    if _LONG_TAG.search(text):
        raise ValueError("it has a tag that is too long")
    depth = elements = 0

    def start(*_: object) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > MAX_DEPTH or elements > MAX_ELEMENTS:
            raise ValueError("it has too many elements")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.Parse(text, True)


def local_name(element: ElementTree.Element) -> str:
    """Return the name without the namespace."""
    return element.tag.rpartition("}")[2]


def namespace(element: ElementTree.Element) -> str:
    """Return the namespace in braces, as it precedes the names of elements; "" if there is none."""
    return element.tag.removesuffix(local_name(element))
