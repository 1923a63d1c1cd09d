"""Checks the files of credentials that botocore reads: it takes their values as they are. Reads these files.

Texts name the variable or the default path and the position, never a value.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from loader.s3.auth.values import (
    BYTE_ORDER_MARKS,
    check_access_key,
    check_secret,
    check_token,
    clean_setting,
    control_character_fault,
    decode_text,
    read_file,
)

_FILES: Final = (("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config"))
_VALUES: Final = {
    "aws_access_key_id": check_access_key,
    "aws_secret_access_key": check_secret,
    "aws_session_token": check_token,
}


def profile_faults(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for everything that keeps the profile in use from being read.

    Checks nothing if the keys are in the environment.
    """
    if environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY"):
        return
    profile = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE") or "default"
    found, missing = False, []
    for variable, default in _FILES:
        given = environment.get(variable)
        path = os.path.expanduser(given or default)  # noqa: PTH111  unlike Path's, it accepts an unknown home directory
        if not Path(path).exists():
            missing += [variable] if given else []  # no fault, as in boto3, if the other file has the profile
            continue
        name = variable if given else f"{variable}, {default} by default,"
        try:
            sections = _parse(path)
        except ValueError as error:
            yield f"{name} {error}."
            return
        for section in (profile, f"profile {profile}"):
            if sections.has_section(section):
                found = True
                yield from _section_faults(name, section, sections[section])
    if not found:
        yield from (f"{variable} names a file that cannot be read (No such file or directory)." for variable in missing)
    if not found and not missing and profile != "default":
        yield "AWS_PROFILE names a profile that the files of credentials do not contain."


def _parse(path: str) -> configparser.RawConfigParser:
    """Return the sections as botocore would. Raises ValueError."""
    content = read_file(path)
    if content.startswith(BYTE_ORDER_MARKS):
        raise ValueError("names a file that begins with a byte order mark: save it as UTF-8 without one")
    sections = configparser.RawConfigParser()
    try:
        sections.read_string(decode_text(content))
    except configparser.Error as error:  # its text quotes the line
        raise ValueError(f"names a file that is not made of [profile] sections{_position(error)}") from None
    return sections


def _position(error: configparser.Error) -> str:
    line = getattr(error, "lineno", None) or next((number for number, _ in getattr(error, "errors", ())), None)
    return f" (line {line})" if line else ""


def _section_faults(name: str, section: str, values: Mapping[str, str]) -> Iterator[str]:
    for key, check in _VALUES.items():
        value = clean_setting(values.get(key, ""))
        try:
            if fault := control_character_fault(value):
                raise ValueError(fault)
            check(value)
        except ValueError as error:
            yield f"{name}: {key} of [{section}] {error}."
