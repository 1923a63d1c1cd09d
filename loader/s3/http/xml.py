"""XML of a store's responses. Pure."""

from __future__ import annotations

from collections.abc import Collection
from xml.etree import ElementTree


def parse_root(text: str, names: Collection[str]) -> ElementTree.Element:
    """Return the root element, whose local name must be one of `names`. Raises ValueError with a reason."""
    # Entities, which may expand to gigabytes, need a document type.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("it declares a document type")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  see above
    except ElementTree.ParseError as error:
        raise ValueError("it is not XML") from error
    if local_name(root) not in names:
        raise ValueError(f"its root element is not {' or '.join(names)}")
    return root


def local_name(element: ElementTree.Element) -> str:
    """Return the name without the namespace."""
    return element.tag.rpartition("}")[2]


def namespace(element: ElementTree.Element) -> str:
    """Return the namespace in braces, as it precedes the names of elements; "" if there is none."""
    return element.tag.removesuffix(local_name(element))
