"""Environment variables of the store and the loader, cleaned at process start, before anything reads them.

Files written on Windows and secrets made with `echo` end in a line break. A request cannot contain one, and libraries
that read the environment themselves (botocore, urllib) use every value as it is. Touches only the given mapping.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import MutableMapping
from typing import Final

_TRIMMED: Final = re.compile(r"(?:AWS|LOADER)_.*|(?:MEDIA|STATUS)_BUCKET|(?i:(?:https?|all|no)_proxy)", re.S)
_FREE_TEXT: Final = "LOADER_"  # commands may have several lines; these options are checked where they are parsed


def clean_variables(environment: MutableMapping[str, str]) -> None:
    """Trim surrounding white space and unset variables that are then empty.

    Raises ValueError, one sentence per line, if a value contains a control character. Values are not shown.
    """
    faults = []
    for name in sorted(filter(_TRIMMED.fullmatch, environment)):
        value = environment[name].strip()
        if value and value != environment[name]:
            environment[name] = value
        elif not value and environment[name]:
            del environment[name]
        if not name.startswith(_FREE_TEXT) and has_control_character(value):
            faults.append(f"{name} contains a control character, such as a line break. Set it again without it.")
    if faults:
        raise ValueError("\n".join(faults))


def has_control_character(text: str) -> bool:
    """Whether a character has the Unicode category Cc."""
    return any(unicodedata.category(character) == "Cc" for character in text)
