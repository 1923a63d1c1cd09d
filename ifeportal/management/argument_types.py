"""Argument types that several commands share, for `add_argument(type=…)`."""

from __future__ import annotations

from argparse import ArgumentTypeError

from ifeportal.conf import environment


def duration(text: str) -> float:
    """Return the seconds of a duration such as "2s" or "10min". Raises ArgumentTypeError."""
    try:
        return environment.parse_seconds(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} {error}") from error
