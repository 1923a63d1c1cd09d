"""Verification levels of a complete load: size, hash, signed. Pure.

A complete load *claims* that every byte has come. `size`: the manifest has no SHA-256 for some item. `hash`: it has
one for each, and the loader's heartbeat says that it holds the campaign verified. `signed`: moreover the manifest is
signed and the loader accepts signed manifests only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fleet.choices import Verification

ENFORCE: Final = "enforce"


def verification_level(
    *, hashed: bool, held: Mapping[str, Any] | None, items: int | None, signed: bool, policy: str
) -> Verification:
    """What is proven of a complete load. Pure.

    `hashed`: the manifest has a SHA-256 for every item. `held` is what the loader's heartbeat says of the campaign, of
    which it must hold all `items`; `policy` is that on signatures.
    """
    if not hashed:
        return Verification.SIZE
    number = held.get("items") if held else None
    whole = not isinstance(number, int) or items is None or number >= items
    if not (held and held.get("verified") is True and whole):
        return Verification.NONE
    return Verification.SIGNED if signed and policy == ENFORCE else Verification.HASH


def heartbeat_entry(held: object, campaign: str) -> Mapping[str, Any] | None:
    """What a heartbeat says of a campaign, whatever else it may say."""
    entries = held if isinstance(held, list) else []
    return next((each for each in entries if isinstance(each, dict) and each.get("campaign") == campaign), None)
