#!/usr/bin/env python3
"""Make `.env` of `.env.example`: every empty value becomes a random one. Touches that one file; never overwrites it."""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def filled(example: str) -> str:
    """The example with a random value, safe in a URL, after every `NAME=`."""
    return re.sub(r"(?m)^([A-Z_]+=)$", lambda match: match[1] + secrets.token_urlsafe(50), example)


def main() -> None:
    """Write the file so that only its owner may read it."""
    target = ROOT / ".env"
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.exit(f"{target} is there already; delete it to make new secrets.")
    with os.fdopen(descriptor, "w") as file:
        file.write(filled((ROOT / ".env.example").read_text()))


if __name__ == "__main__":
    main()
