"""Settings of a loader, from options and `LOADER_…` variables: typed, with defaults and error messages.

`OPTIONS` is the only list of them; the command builds its arguments from it. Pure: reads only what it is given.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from loader.contract.names import check_name
from loader.contract.time_window import ALWAYS, TimeWindow, parse_time_window
from loader.contract.units import parse_duration, parse_size
from loader.errors import BadName

_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("", "0", "false", "no", "off")


class SettingsError(ValueError):
    """A setting is missing or wrong; `str()` is a sentence that names it."""


def parse_boolean(text: str) -> bool:
    """True or False from 1/0, yes/no, true/false, on/off; empty is False. Raises ValueError."""
    word = text.strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"{text!r} is neither yes nor no")
    return word in _TRUE


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text.strip(), re.ASCII):
        raise ValueError(f"{text!r} is not a number from 1 to 999")
    return int(text)


def _positive(parse: Callable[[str], float]) -> Callable[[str], float]:
    def parse_positive(text: str) -> float:
        value = parse(text)
        if value <= 0:
            raise ValueError(f"{text!r} must be more than nothing")
        return value

    return parse_positive


def _rate(text: str) -> int | None:
    """Bytes per second; nothing or 0 is no limit."""
    return (parse_size(text) or None) if text.strip() else None


def _directory(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise ValueError("a content directory needs a path")
    # Two spellings of one directory would look like two loaders at its lock.
    return Path(text).expanduser().resolve()


def _command(text: str) -> tuple[str, ...]:
    """The words of a command, as a shell would split them; no shell will see them."""
    words = tuple(shlex.split(text))
    if text.strip() and not words:
        raise ValueError(f"{text!r} is no command")
    return words


def _file(text: str) -> Path | None:
    return Path(text).expanduser().resolve() if text.strip() else None


def _policy(text: str) -> str:
    word = text.strip().lower()
    if word not in ("off", "warn", "enforce"):
        raise ValueError(f"{text!r} is not one of off, warn, enforce")
    return word


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text.strip(), re.ASCII):
        raise ValueError(f"{text!r} is no file mode; write it like 0660")
    return int(text, 8)


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: `name` with dashes is the option, in capitals after `LOADER_` the variable."""

    name: str
    parse: Callable[[str], object]
    default: str | None
    help: str
    metavar: str = ""
    repeatable: bool = False
    is_flag: bool = False
    dest: str = ""

    @property
    def flag(self) -> str:
        """As it is written on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """As it is written in the environment."""
        return "LOADER_" + self.name.upper()

    @property
    def field(self) -> str:
        """The name of its field in `Settings`."""
        return self.dest or self.name


OPTIONS: Final = (
    Option("airline", check_name, None, "the airline this aircraft flies for", "A"),
    Option("tail", check_name, None, "the aircraft's registration", "T"),
    Option(
        "content_dir",
        _directory,
        None,
        "where content goes, as DIR/CAMPAIGN/CONTENT.tgz; may be given more than once",
        "DIR",
        repeatable=True,
        dest="content_dirs",
    ),
    Option(
        "campaign",
        check_name,
        "",
        "load only this campaign, even if its exhibition has ended; may be given more than once",
        "C",
        repeatable=True,
        dest="campaigns",
    ),
    Option("once", parse_boolean, "", "end when nothing is left to do", is_flag=True),
    Option("max_transfers", _count, "4", "items loaded at once", "N"),
    Option("bandwidth_limit", _rate, "", "of all transfers together, in bytes a second (20MB, 50 Mbit)", "SIZE"),
    Option("progress_interval", _positive(parse_duration), "2s", "time between two reports of one item", "TIME"),
    Option("poll_interval", _positive(parse_duration), "60s", "time between two looks at the media bucket", "TIME"),
    Option("json", parse_boolean, "", "print one JSON object a line", is_flag=True),
    Option("reserve", parse_size, "16MB", "space to be left free in every content directory", "SIZE"),
    Option("tries", _count, "8", "attempts in a row that may bring nothing before an item fails for now", "N"),
    Option("retry_delay", _positive(parse_duration), "1s", "first limit of the random wait, doubled each try", "TIME"),
    Option("retry_delay_max", _positive(parse_duration), "60s", "highest limit of the random wait", "TIME"),
    Option("connect_timeout", _positive(parse_duration), "10s", "time to wait for a connection", "TIME"),
    Option("read_timeout", _positive(parse_duration), "30s", "time to wait for the next byte", "TIME"),
    Option("min_rate", parse_size, "4KiB", "a transfer slower than this (bytes a second) is dropped", "SIZE"),
    Option("min_rate_time", _positive(parse_duration), "60s", "time over which that rate is averaged", "TIME"),
    Option("report_timeout", _positive(parse_duration), "15s", "time for the last reports before it ends", "TIME"),
    Option("heartbeat_interval", _positive(parse_duration), "60s", "longest time between two heartbeats", "TIME"),
    Option(
        "takeover_after",
        _positive(parse_duration),
        "7m",
        "silence after which another machine that loaded this tail is taken to be gone",
        "TIME",
    ),
    Option(
        "window",
        parse_time_window,
        "",
        "load only in these hours, e.g. 22:00-05:00 (UTC) or 22:00-05:00 local",
        "HOURS",
    ),
    Option("link_check", _command, "", "command that says whether the link may be used: exit 0 is yes", "COMMAND"),
    Option(
        "on_loaded",
        _command,
        "",
        "command run with path, campaign and content once an item, and once a campaign, is durable",
        "COMMAND",
    ),
    Option("on_loaded_timeout", _positive(parse_duration), "10m", "time that command may take", "TIME"),
    Option("signatures", _policy, "off", "what to do about unsigned manifests: off, warn or enforce", "POLICY"),
    Option("trusted_keys", _file, "", "file of the keys that may sign manifests", "FILE"),
    Option("socket_mode", _mode, "0600", "who may ask the loader through its socket, as a file mode", "MODE"),
)
HEARTBEAT_LIMIT: Final = 300.0  # seconds: what the contract promises the ground


@dataclass(frozen=True, slots=True)
class Settings:
    """What a loader is told. Sizes in bytes, rates in bytes a second, times in seconds."""

    airline: str
    tail: str
    content_dirs: tuple[Path, ...]
    campaigns: tuple[str, ...] = ()
    once: bool = False
    max_transfers: int = 4
    bandwidth_limit: int | None = None
    progress_interval: float = 2.0
    poll_interval: float = 60.0
    json: bool = False
    reserve: int = 16_000_000
    tries: int = 8
    retry_delay: float = 1.0
    retry_delay_max: float = 60.0
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    min_rate: int = 4096
    min_rate_time: float = 60.0
    report_timeout: float = 15.0
    heartbeat_interval: float = 60.0
    takeover_after: float = 420.0
    window: TimeWindow = ALWAYS
    link_check: tuple[str, ...] = ()
    on_loaded: tuple[str, ...] = ()
    on_loaded_timeout: float = 600.0
    signatures: Literal["off", "warn", "enforce"] = "off"
    trusted_keys: Path | None = None
    socket_mode: int = 0o600
    media_bucket: str = "ife-media"
    status_bucket: str = "ife-status"


def read_settings(options: Mapping[str, object], environment: Mapping[str, str]) -> Settings:
    """Options win over variables, variables over defaults. Raises SettingsError with every fault found."""
    faults: list[str] = []
    values: dict[str, object] = {}
    for option in OPTIONS:
        try:
            values[option.field] = _value(option, options.get(option.name), environment.get(option.variable))
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise SettingsError("\n".join(faults))
    values["heartbeat_interval"] = min(float(str(values["heartbeat_interval"])), HEARTBEAT_LIMIT)
    buckets = {name: environment.get(name.upper()) or default for name, default in _BUCKETS}
    return Settings(**values, **buckets)  # type: ignore[arg-type]  # each was parsed by its option


_BUCKETS: Final = (("media_bucket", "ife-media"), ("status_bucket", "ife-status"))


def _value(option: Option, given: object, variable: str | None) -> object:
    source = option.variable if given is None or given is False else option.flag
    texts = _texts(option, given, variable)
    if not texts and (option.default is None):
        raise SettingsError(f"{option.flag} (or {option.variable}) must be given.")
    try:
        parsed = [option.parse(text) for text in texts]
    except (BadName, ValueError) as error:
        raise SettingsError(f"{source}: {str(error).rstrip('.')}.") from error
    return tuple(dict.fromkeys(parsed)) if option.repeatable else parsed[0]


def _texts(option: Option, given: object, variable: str | None) -> Sequence[str]:
    """What is to be parsed, from the first source that says anything."""
    if isinstance(given, list | tuple):
        return [str(text) for text in given]
    if given is not None and given is not False:
        return ["1" if given is True else str(given)]
    if variable and option.repeatable:
        return [text for text in variable.split(":") if text]
    text = variable or option.default
    if option.repeatable:
        return []
    return [] if text is None else [text]
