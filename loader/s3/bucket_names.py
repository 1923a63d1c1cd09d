"""The rule for names of buckets, for the loader's settings and the portal's. Pure.

Source: Amazon S3 User Guide, "General purpose bucket naming rules"; directory and table buckets are not supported.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIXES: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_SUFFIXES: Final = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
# SeaweedFS serves its health pages at these paths.
_RESERVED: Final = frozenset({"status", "healthz"})


def check_bucket_name(name: str) -> str:
    """Return the name if it is valid. Raises ValueError, which continues a sentence that begins with the variable."""
    if name in _RESERVED:
        raise ValueError(
            f"must not be {name!r}: SeaweedFS serves its health page at this path, so every listing is empty"
        )
    if "/" in name:
        raise ValueError("must be the name of a bucket alone, without s3:// and without a folder")
    if not _NAME.fullmatch(name):
        raise ValueError(
            "must be 3 to 63 lower-case letters, digits, dots and hyphens, with a letter or digit at both ends"
        )
    if ".." in name or _is_address(name):
        raise ValueError("must not contain two dots in a row, or be an IP address")
    if name.startswith(_PREFIXES) or name.endswith(_SUFFIXES):
        raise ValueError(
            f"must not begin with one of {', '.join(_PREFIXES)}, or end with one of {', '.join(_SUFFIXES)}: "
            "S3 reserves these names"
        )
    return name


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
