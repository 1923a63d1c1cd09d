"""Verification levels of a complete load: size, hash, signed. Pure.

A complete load *claims* that every byte has arrived. `size`: the manifest lacks the SHA-256 of some item. `hash`: it
has all of them, and the loader's heartbeat reports the campaign as verified. `signed`: in addition the manifest is
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
    """Return what is proven of a complete load.

    `hashed`: the manifest has a SHA-256 for every item. `held` is the campaign's entry in the loader's heartbeat, which
    must cover all `items`. `policy` is the loader's signature policy.
    """
    if not hashed:
        return Verification.SIZE
    number = held.get("items") if held else None
    complete = not isinstance(number, int) or items is None or number >= items
    if not (held and held.get("verified") is True and complete):
        return Verification.NONE
    return Verification.SIGNED if signed and policy == ENFORCE else Verification.HASH


def heartbeat_entry(held: object, campaign: str) -> Mapping[str, Any] | None:
    """Return the entry of a campaign in the `held` list of a heartbeat, which may contain anything."""
    entries = held if isinstance(held, list) else []
    return next((each for each in entries if isinstance(each, dict) and each.get("campaign") == campaign), None)
