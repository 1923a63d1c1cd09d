"""Where a store is: endpoint, region and addressing style, from arguments, AWS's variables or the AWS profile.

As in boto3, variables come before the profile, and the profile is that of AWS_PROFILE, else `default`. botocore, which
takes 0.2 s to import, reads the files, but only if they exist and a value is missing. Reads files, opens no sockets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from loader.frozen import frozen
from loader.s3.http.urls import AddressingStyle, parse_addressing_style

DEFAULT_REGION: Final = "us-east-1"
_FILES: Final = (("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))
_FileVersion = tuple[str, int, int]


@frozen
class StoreLocation:
    """`endpoint` None: AWS."""

    endpoint: str | None
    region: str
    style: AddressingStyle


@frozen
class _Profile:
    """Settings of the AWS profile; empty if it does not have them."""

    endpoint: str = ""
    region: str = ""
    style: str = ""


_NO_PROFILE: Final = _Profile()


def find_location(endpoint: str | None = None, region: str | None = None) -> StoreLocation:
    """Return the location; arguments come first. Raises ValueError for an unknown addressing style."""
    variables = os.environ
    ignored = variables.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
    if not endpoint and not ignored:
        endpoint = variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")
    region = region or variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION")
    style = variables.get("AWS_S3_ADDRESSING_STYLE")
    profile = _NO_PROFILE if endpoint and region and style else _read_profile()
    return StoreLocation(
        endpoint or (None if ignored else profile.endpoint) or None,
        region or profile.region or DEFAULT_REGION,
        parse_addressing_style(style or profile.style or "auto"),
    )


def _read_profile() -> _Profile:
    versions = [version for name, default in _FILES if (version := _file_version(os.environ.get(name) or default))]
    return _parse_profile(os.environ.get("AWS_PROFILE") or "", *versions) if versions else _NO_PROFILE


def _file_version(name: str) -> _FileVersion | None:
    try:
        status = Path(name).expanduser().stat()
    except (OSError, RuntimeError):  # RuntimeError: the user has no home directory
        return None
    return name, status.st_mtime_ns, status.st_size


@lru_cache(maxsize=8)
def _parse_profile(name: str, *versions: _FileVersion) -> _Profile:
    """Return the settings of the profile. The arguments are the key of the cache only: botocore finds both itself.

    A profile that does not exist, or a file that cannot be read, is an error of the credentials, if they are needed.
    """
    from botocore.configprovider import ConfiguredEndpointProvider  # noqa: PLC0415  late, see the module
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    from botocore.session import Session  # noqa: PLC0415

    try:
        session = Session()
        scoped: Mapping[str, Any] = session.get_scoped_config()
        endpoint = ConfiguredEndpointProvider(session.full_config, scoped, "s3", {}).provide()
    except BotoCoreError:
        return _NO_PROFILE
    s3 = scoped.get("s3")
    style = s3.get("addressing_style") if isinstance(s3, dict) else None
    return _Profile(str(endpoint or ""), str(scoped.get("region") or ""), str(style or ""))
