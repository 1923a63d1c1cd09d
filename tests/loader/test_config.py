"""The loader's configuration: options, environment and defaults; every invalid value is rejected with a sentence."""

from __future__ import annotations

import traceback
from dataclasses import fields
from pathlib import Path

import pytest

from loader.config import OPTIONS, Option, Settings, SettingsError, read_content_dirs, read_settings
from loader.contract.units import parse_duration, parse_size

LEAST = {"airline": "ACME", "tail": "N1", "content_dir": ["/content"]}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("20MB", 20_000_000),
        ("20 mb", 20_000_000),
        ("5GB", 5_000_000_000),
        ("1.5GiB", 1_610_612_736),
        ("512 KiB", 524_288),
        ("2T", 2_000_000_000_000),
        ("20MB/s", 20_000_000),
        ("50 Mbit", 6_250_000),
        ("0", 0),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1e6", "20 parsecs", "1_000", "\u0663MB", "nan", "1,5GB", "20MB20"])
def test_an_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2s", 2),
        ("2 days", 172_800),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("1 hour 30 minutes", 5400),
        ("90", 90),
        ("0.5", 0.5),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "2 fortnights", "-2s", "1h and a bit", "2s!", "\u0661s"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_options_win_over_variables_and_variables_over_defaults() -> None:
    environment = {"LOADER_TAIL": "N2", "LOADER_MAX_TRANSFERS": "7", "LOADER_BANDWIDTH_LIMIT": "20MB"}
    settings = read_settings({**LEAST, "bandwidth_limit": "1MB"}, environment)
    assert (settings.tail, settings.max_transfers, settings.bandwidth_limit) == ("N1", 7, 1_000_000)
    assert (settings.progress_interval, settings.media_bucket) == (2.0, "ife-media")


def test_everything_may_come_from_the_environment() -> None:
    settings = read_settings(
        {},
        {
            "LOADER_AIRLINE": "ACME",
            "LOADER_TAIL": "N1",
            "LOADER_CONTENT_DIR": "/a:/b b",
            "LOADER_CAMPAIGN": "2026-11:2026-12",
            "LOADER_ONCE": "yes",
            "LOADER_JSON": "1",
            "LOADER_POLL_INTERVAL": "2 minutes",
            "MEDIA_BUCKET": "media",
            "STATUS_BUCKET": "reports",
        },
    )
    assert settings == Settings(
        "ACME",
        "N1",
        (Path("/a"), Path("/b b")),
        ("2026-11", "2026-12"),
        once=True,
        json=True,
        poll_interval=120.0,
        media_bucket="media",
        status_bucket="reports",
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("airline", ".."),
        ("airline", "a/b"),
        ("airline", ""),
        ("tail", "../N1"),
        ("tail", "/N1"),
        ("campaign", [".."]),
        ("campaign", ["2026-12", "x\\y"]),
        ("max_transfers", "0"),
        ("max_transfers", "many"),
        ("progress_interval", "0s"),
        ("poll_interval", "soon"),
        ("bandwidth_limit", "fast"),
        ("reserve", "-1"),
    ],
)
def test_a_wrong_setting_is_refused_with_a_sentence_that_names_it(option: str, value: object) -> None:
    with pytest.raises(SettingsError, match="--" + option.replace("_", "-")) as refused:
        read_settings({**LEAST, option: value}, {})
    assert str(refused.value).endswith(".")


def test_all_errors_are_reported_together() -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({}, {"LOADER_READ_TIMEOUT": "x"})
    message = str(refused.value)
    assert all(
        name in message for name in ("LOADER_AIRLINE", "LOADER_TAIL", "LOADER_CONTENT_DIR", "LOADER_READ_TIMEOUT")
    )


def test_a_heartbeat_comes_at_least_every_five_minutes() -> None:
    assert read_settings({**LEAST, "heartbeat_interval": "2 days"}, {}).heartbeat_interval == 300.0


def test_every_default_is_that_of_the_settings() -> None:
    read, plain = read_settings(LEAST, {}), Settings("ACME", "N1", (Path("/content"),))
    assert read == plain
    assert {option.field for option in OPTIONS} <= {field.name for field in fields(Settings)}


def test_two_spellings_of_a_directory_are_one(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "content")
    given = [str(tmp_path / "content"), f"{tmp_path}/x/../content/", str(link)]
    assert read_settings({**LEAST, "content_dir": given}, {}).content_dirs == (tmp_path / "content",)


@pytest.mark.parametrize("form", ["{}\r", " {}\n", '"{}"', "'{}'\r\n", "\ufeff{}", '\u200b"{}"'])
def test_whitespace_and_quotes_around_a_value_are_removed(form: str) -> None:
    values = {"AIRLINE": "ACME", "TAIL": "N1", "CONTENT_DIR": "/a:/b b", "MAX_TRANSFERS": "7", "WINDOW": "22:00-05:00"}
    environment = {f"LOADER_{name}": form.format(value) for name, value in values.items()}
    clean = {f"LOADER_{name}": value for name, value in values.items()}
    assert read_settings({}, environment) == read_settings({}, clean)
    options = {name.lower(): form.format(value) for name, value in values.items() if name != "CONTENT_DIR"}
    assert read_settings({**options, "content_dir": [form.format("/a"), "/b b"]}, {}) == read_settings({}, clean)
    assert read_content_dirs(None, environment) == (Path("/a"), Path("/b b"))


def test_quotation_marks_of_a_command_are_those_of_a_shell() -> None:
    settings = read_settings(LEAST, {"LOADER_LINK_CHECK": "'/opt/my check'\r\n", "LOADER_ON_LOADED": '"a b" "c d"'})
    assert (settings.link_check, settings.on_loaded) == (("/opt/my check",), ("a b", "c d"))


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
@pytest.mark.parametrize(
    "value", ["hunter2/\rhunter2", "hunter2'\x1b[2J\"", "\nhunter2 \0 hunter2/", "hunter2'/\u202e"]
)
def test_a_refusal_names_the_variable_and_not_its_value(option: Option, value: str) -> None:
    given: dict[str, object] = {option.name: [value] if option.repeatable else value}
    for options, environment in (({}, {option.variable: value}), (given, {})):
        with pytest.raises(SettingsError) as refused:
            read_settings(options, {"LOADER_AIRLINE": ".."} | environment)
        assert "hunter2" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("name", ["content_dir", "trusted_keys"])
def test_a_path_with_a_control_character_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="control character"):
        read_settings({**LEAST, name: ["/a\rb"] if name == "content_dir" else "/a\rb"}, {})
