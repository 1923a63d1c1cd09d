"""Settings of a loader, from options and `LOADER_…` variables: typed, with defaults and error messages.

The fields of `Settings` are the only list of them; the command builds its arguments from `OPTIONS`, which is derived.
Pure: reads only what it is given.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, cast

from loader.contract.names import check_name
from loader.contract.time_window import TimeWindow, parse_time_window
from loader.contract.units import parse_duration, parse_size
from loader.errors import BadName
from loader.frozen import frozen
from loader.s3.auth.values import clean_setting, clean_text, control_character_fault
from loader.s3.bucket_names import check_bucket_name

_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("", "0", "false", "no", "off")
_BUCKETS: Final = ("media_bucket", "status_bucket")
_QUOTED: Final = re.compile(r"(?:the name )?([\"']).*\1…?", re.S)


class SettingsError(ValueError):
    """A setting is missing or invalid. `str()` has one sentence a line, each of which names a setting."""


def parse_boolean(text: str) -> bool:
    """Parse 1/0, yes/no, true/false, on/off; an empty text is False. Raises ValueError."""
    word = text.strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"{text!r} is not a yes or no")
    return word in _TRUE


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text.strip(), re.ASCII):
        raise ValueError(f"{text!r} is not a number from 1 to 999")
    return int(text)


def _positive(parse: Callable[[str], float]) -> Callable[[str], float]:
    def parse_positive(text: str) -> float:
        value = parse(text)
        if value <= 0:
            raise ValueError(f"{text!r} must be more than 0")
        return value

    return parse_positive


def _rate(text: str) -> int | None:
    """Parse bytes a second; None (no limit) if empty or 0."""
    return (parse_size(text) or None) if text.strip() else None


def _directory(text: str) -> Path:
    if not text or control_character_fault(text):
        raise ValueError("a content directory must be a path without control characters")
    # Two spellings of one directory would look like two loaders to its lock.
    return Path(text).expanduser().resolve()


def _command(text: str) -> tuple[str, ...]:
    """Split a command into words as a shell would. It is run without a shell."""
    words = tuple(shlex.split(text))
    if text.strip() and not words:
        raise ValueError(f"{text!r} is not a command")
    return words


def _file(text: str) -> Path | None:
    if fault := control_character_fault(text):
        raise ValueError(f"the path {fault}")
    return Path(text).expanduser().resolve() if text.strip() else None


def _policy(text: str) -> str:
    word = text.strip().lower()
    if word not in ("off", "warn", "enforce"):
        raise ValueError(f"{text!r} is not one of off, warn, enforce")
    return word


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text.strip(), re.ASCII):
        raise ValueError(f"{text!r} is not a file mode; write it like 0660")
    return int(text, 8)


@frozen
class Option:
    """One setting: `--name` (with dashes) on the command line, `LOADER_NAME` in the environment.

    `default`: as written on the command line; None if the option is required. `field`: its name in `Settings`.
    """

    name: str
    parse: Callable[[str], object]
    default: str | None
    help: str
    metavar: str
    repeatable: bool
    field: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "LOADER_" + self.name.upper()

    @property
    def is_flag(self) -> bool:
        return self.parse is parse_boolean


def _option(
    parse: Callable[[str], object],
    help_text: str,
    metavar: str = "",
    *,
    default: str | None = "",
    name: str = "",
    repeatable: bool = False,
) -> Any:
    """Return a field of `Settings` that is set by an option. `name`: of the option, if it is not the field's."""
    option = Option(name, parse, default, help_text, metavar, repeatable)
    if default is None:
        return field(metadata={"option": option})
    return field(default=() if repeatable else parse(default), metadata={"option": option})


HEARTBEAT_LIMIT: Final = 300.0  # seconds; longest interval that the contract allows
_time = _positive(parse_duration)


@frozen
class Settings:
    """Settings of one loader. Sizes in bytes, rates in bytes a second, times in seconds."""

    airline: str = _option(check_name, "the airline this aircraft flies for", "A", default=None)
    tail: str = _option(check_name, "the aircraft's registration", "T", default=None)
    content_dirs: tuple[Path, ...] = _option(
        _directory,
        "where content goes, as DIR/CAMPAIGN/CONTENT.tgz; may be given more than once",
        "DIR",
        default=None,
        name="content_dir",
        repeatable=True,
    )
    campaigns: tuple[str, ...] = _option(
        check_name,
        "load only this campaign, even if its exhibition has ended; may be given more than once",
        "C",
        name="campaign",
        repeatable=True,
    )
    once: bool = _option(parse_boolean, "end when nothing is left to do")
    check: bool = _option(parse_boolean, "test the store, print what is missing, and end; nothing is loaded")
    max_transfers: int = _option(_count, "items downloaded at once", "N", default="4")
    bandwidth_limit: int | None = _option(
        _rate, "limit for all transfers together, in bytes a second (20MB, 50 Mbit)", "SIZE"
    )
    progress_interval: float = _option(_time, "time between two reports of one item", "TIME", default="2s")
    poll_interval: float = _option(_time, "time between two polls of the media bucket", "TIME", default="60s")
    json: bool = _option(parse_boolean, "print one JSON object a line")
    reserve: int = _option(parse_size, "space to leave free in every content directory", "SIZE", default="16MB")
    tries: int = _option(_count, "attempts in a row without progress before an item fails for now", "N", default="8")
    retry_delay: float = _option(
        _time, "first limit of the random wait between attempts, doubled each time", "TIME", default="1s"
    )
    retry_delay_max: float = _option(_time, "highest limit of the random wait between attempts", "TIME", default="60s")
    connect_timeout: float = _option(_time, "time to wait for a connection", "TIME", default="10s")
    read_timeout: float = _option(_time, "time to wait for the next byte", "TIME", default="30s")
    min_rate: int = _option(
        parse_size,
        "lowest rate of a transfer, in bytes a second; a slower one is ended and retried",
        "SIZE",
        default="4KiB",
    )
    min_rate_time: float = _option(_time, "time over which the lowest rate is averaged", "TIME", default="60s")
    report_timeout: float = _option(
        _time, "time to send the last reports before the loader ends", "TIME", default="15s"
    )
    heartbeat_interval: float = _option(_time, "longest time between two heartbeats", "TIME", default="60s")
    takeover_after: float = _option(
        _time,
        "time without a heartbeat after which this machine takes over the tail from another one",
        "TIME",
        default="7m",
    )
    window: TimeWindow = _option(
        parse_time_window, "load only in these hours, e.g. 22:00-05:00 (UTC) or 22:00-05:00 local", "HOURS"
    )
    link_check: tuple[str, ...] = _option(
        _command, "command that decides whether the link may be used: exit 0 means yes", "COMMAND"
    )
    on_loaded: tuple[str, ...] = _option(
        _command,
        "command to run, with path, campaign and content, when an item or a campaign is safely on disk",
        "COMMAND",
    )
    on_loaded_timeout: float = _option(_time, "time limit of the --on-loaded command", "TIME", default="10m")
    signatures: Literal["off", "warn", "enforce"] = _option(
        _policy, "how to treat unsigned manifests: off, warn or enforce", "POLICY", default="off"
    )
    trusted_keys: Path | None = _option(_file, "file with the keys that may sign manifests", "FILE")
    socket_mode: int = _option(_mode, "file mode of the socket that local programs use", "MODE", default="0600")
    media_bucket: str = "ife-media"
    status_bucket: str = "ife-status"


OPTIONS: Final = tuple(
    replace(option, name=option.name or each.name, field=each.name)
    for each in fields(Settings)
    if (option := each.metadata.get("option"))
)


def read_settings(options: Mapping[str, object], environment: Mapping[str, str]) -> Settings:
    """Return the settings: from options, else variables, else defaults.

    Raises:
        SettingsError: with every error found.
    """
    errors: list[str] = []
    values: dict[str, object] = {}
    for option in OPTIONS:
        try:
            values[option.field] = _value(option, options.get(option.name), environment.get(option.variable))
        except ValueError as error:
            errors.append(str(error))
    buckets = _read_buckets(environment, errors)
    if errors:
        raise SettingsError("\n".join(errors))
    values["heartbeat_interval"] = min(float(str(values["heartbeat_interval"])), HEARTBEAT_LIMIT)
    return Settings(**values, **buckets)  # type: ignore[arg-type]  # each was parsed by its option


def _read_buckets(environment: Mapping[str, str], errors: list[str]) -> dict[str, str]:
    """Return the buckets; add a sentence to `errors` for each invalid one."""
    names = {entry.name: str(entry.default) for entry in fields(Settings) if entry.name in _BUCKETS}
    for field_name in names:
        name = clean_setting(environment.get(field_name.upper(), "")) or names[field_name]
        try:
            names[field_name] = check_bucket_name(name)
        except ValueError as error:
            errors.append(f"{field_name.upper()} {error}.")
    if len(set(names.values())) < len(names):
        errors.append("MEDIA_BUCKET and STATUS_BUCKET must be different buckets.")
    return names


def read_content_dirs(given: Sequence[str] | None, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the content directories as a loader with this option and environment has them. Raises SettingsError."""
    option = next(option for option in OPTIONS if option.field == "content_dirs")
    return cast("tuple[Path, ...]", _value(option, given or None, environment.get(option.variable)))


def _value(option: Option, given: object, variable: str | None) -> object:
    source = option.variable if given is None or given is False else option.flag
    texts = _texts(option, given, variable)
    if not texts and (option.default is None):
        raise SettingsError(f"{option.flag} (or {option.variable}) must be given.")
    try:
        parsed = [option.parse(text) for text in texts]
    except (BadName, ValueError) as error:
        raise SettingsError(f"{source}: {_without_value(str(error))}.") from None
    return tuple(dict.fromkeys(parsed)) if option.repeatable else parsed[0]


def _without_value(message: str) -> str:
    """Return the message of a parser without the text it quotes: a secret may be in the wrong variable."""
    return _QUOTED.sub("the value", message).rstrip(".")


def _texts(option: Option, given: object, variable: str | None) -> Sequence[str]:
    """Return the cleaned texts to parse, from the first source that has any."""
    clean = clean_text if option.parse is _command else clean_setting  # a shell's quotation marks have a meaning
    if isinstance(given, list | tuple):
        return [clean(str(text)) for text in given]
    if given is not None and given is not False:
        return ["1" if given is True else clean(str(given))]
    value = clean(variable or "")
    if option.repeatable:
        return [text for part in value.split(":") if (text := clean(part))]
    first = value or option.default
    return [] if first is None else [first]
