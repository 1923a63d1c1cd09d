"""Settings come from the environment, are typed, and are refused with a sentence if invalid."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ifeportal.conf.environment import ConfigError, read_config
from tests.support.production_environment import KEY, PRODUCTION, manage

ROOT = Path(__file__).resolve().parents[3]


def test_without_any_setting_it_is_development() -> None:
    config = read_config({})
    assert config.debug
    assert config.database_url is None
    assert (config.media_bucket, config.status_bucket) == ("ife-media", "ife-status")
    assert config.poll_interval == 2.0


@pytest.mark.parametrize("name", ["SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL"])
def test_what_only_production_sets_switches_debug_off(name: str) -> None:
    environment = {"SECRET_KEY": KEY, name: PRODUCTION[name]}
    assert not read_config(environment).debug


def test_another_sqlite_file_is_still_development() -> None:
    assert read_config({"DATABASE_URL": "sqlite:////tmp/other.sqlite3"}).debug


def test_debug_can_be_asked_for_beside_a_server_database() -> None:
    assert read_config({"DATABASE_URL": PRODUCTION["DATABASE_URL"], "DEBUG": "1"}).debug


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("", "SECRET_KEY is missing."),
        ("changeme" * 10, "SECRET_KEY is a placeholder."),
        ("django-insecure-" + KEY, "SECRET_KEY is a placeholder."),
        ("development-only-never-used-with-debug-off-0123456789", "SECRET_KEY is a placeholder."),
        (KEY[:49], "SECRET_KEY is too weak"),
        ("ab" * 40, "SECRET_KEY is too weak"),
    ],
)
def test_with_debug_off_a_key_is_needed_that_nobody_guesses(key: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        read_config({"DEBUG": "0", "SECRET_KEY": key})
    assert not key or key not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DEBUG", "perhaps", "DEBUG must be 1 or 0."),
        ("POLL_INTERVAL", "soon", "POLL_INTERVAL must be a duration"),
        ("POLL_INTERVAL", "0", "POLL_INTERVAL must be a duration"),
        ("POLL_INTERVAL", "-2s", "POLL_INTERVAL must be a duration"),
        ("POLL_INTERVAL", "2 weeks", "POLL_INTERVAL must be a duration"),
        ("POLL_INTERVAL", "nan", "POLL_INTERVAL must be a duration"),
        ("POLL_INTERVAL", "25h", "POLL_INTERVAL must be a duration"),
        ("POLL_INTERVAL", "9" * 400, "POLL_INTERVAL must be a duration"),
        ("STATUS_BUCKET", "status", "STATUS_BUCKET must not be 'status': SeaweedFS"),
        ("MEDIA_BUCKET", "healthz", "MEDIA_BUCKET must not be 'healthz': SeaweedFS"),
        ("MEDIA_BUCKET", "Über/eimer", "MEDIA_BUCKET must be 3 to 63"),
        ("MEDIA_BUCKET", "ife-status", "MEDIA_BUCKET and STATUS_BUCKET must be different buckets."),
        ("DATABASE_URL", "mysql://host/name", "DATABASE_URL must start with postgres://"),
        ("DATABASE_URL", "postgres://host", "DATABASE_URL must name a database"),
        ("DATABASE_URL", "nonsense", "DATABASE_URL must"),
        ("REDIS_URL", "http://host", "REDIS_URL must be a URL"),
        ("EMAIL_URL", "carrier-pigeon://host", "EMAIL_URL must be a URL"),
        ("AWS_ENDPOINT_URL_S3", "s3.example.org", "AWS_ENDPOINT_URL_S3 must be a URL"),
        ("AWS_ACCESS_KEY_ID", "AKIA", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together"),
        ("CSRF_TRUSTED_ORIGINS", "ife.example.org", "CSRF_TRUSTED_ORIGINS must be origins"),
        *(
            ("PORTAL_URL", value, "PORTAL_URL must be a URL such as https://ife.example.org")
            for value in (
                "ife.example.org",
                "ftp://ife.example.org",
                "https://",
                "https://ife.example.org/portal",
                "https://ife.example.org//",
                "https://ife.example.org?a=b",
                "https://ife.example.org#top",
                "https://user@ife.example.org",
                "https://ife.example.org:0",
                "https://ife.example.org:65536",
                "https://ife.example.org:",
                "https://[::1",
                "https://[:::1]",
                "https://ife.example.org\nX-Evil: 1",
                "https://ife.example.org\\@evil.example",
                "https://\u0456fe.example.org",
            )
        ),
        ("LIVE_SOCKETS_PER_USER", "0", "LIVE_SOCKETS_PER_USER must be a whole number above zero."),
        ("LIVE_SOCKETS_PER_USER", "\uff11\uff12", "LIVE_SOCKETS_PER_USER must be a whole number above zero."),
        ("LOG_LEVEL", "loud", "LOG_LEVEL must be DEBUG"),
        ("SECRET_KEY_FILE", "/no/such/file", "SECRET_KEY"),
    ],
)
def test_a_wrong_setting_is_refused_with_a_sentence_that_names_it(name: str, value: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_config({"DEBUG": "1", name: value})
    assert sentence in str(refused.value)


def test_every_host_is_not_a_name_in_production() -> None:
    with pytest.raises(ConfigError, match="ALLOWED_HOSTS must list the hosts"):
        read_config(PRODUCTION | {"ALLOWED_HOSTS": "*"})


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        read_config({"DEBUG": "0", "POLL_INTERVAL": "x", "STATUS_BUCKET": "status"})
    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "expected"), [("2", 2.0), ("2.5s", 2.5), ("500ms", 0.5), ("1 min", 60.0), ("1h", 3600)]
)
def test_a_duration_is_written_as_people_write_it(text: str, expected: float) -> None:
    assert read_config({"POLL_INTERVAL": text}).poll_interval == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ife.example.org", "https://ife.example.org"),
        ("HTTPS://IFE.example.org:8443/", "https://ife.example.org:8443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_the_portals_address_is_an_origin(text: str, expected: str) -> None:
    assert read_config({"PORTAL_URL": text}).portal_url == expected


def test_who_sends_mail_in_production_must_say_where_its_links_lead() -> None:
    mail = PRODUCTION | {"EMAIL_URL": "smtp+tls://user:password@mail.example.org:587"}
    with pytest.raises(ConfigError, match="PORTAL_URL is missing"):
        read_config(mail)
    assert read_config(mail | {"PORTAL_URL": "https://ife.example.org"}).portal_url == "https://ife.example.org"
    assert read_config({"EMAIL_URL": "consolemail://"}).portal_url == ""


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n", encoding="utf-8")
    assert read_config({"SECRET_KEY_FILE": str(tmp_path / "key")}).secret_key == KEY


def test_the_start_is_refused_without_a_key_and_without_a_traceback() -> None:
    done = manage("check", DEBUG="0")
    assert done.returncode != 0
    assert "SECRET_KEY is missing." in done.stderr
    assert "Traceback" not in done.stderr


def test_the_web_server_is_refused_likewise() -> None:
    done = manage("shell", "-c", "import ifeportal.asgi", DATABASE_URL="postgres://db/name")
    assert done.returncode != 0
    assert "SECRET_KEY is missing." in done.stderr
    assert "Traceback" not in done.stderr


def test_commands_work_in_development_with_nothing_set() -> None:
    done = manage("check")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow("starts manage.py for every check")
def test_the_deployment_check_has_nothing_to_say_in_production(tmp_path: Path) -> None:
    environment = PRODUCTION | {"STATIC_ROOT": str(tmp_path / "static")}
    before = manage("check", "--deploy", **environment)
    assert "ifeportal.W001" in before.stderr
    collected = manage("collectstatic", "--noinput", **environment)
    assert collected.returncode == 0, collected.stderr
    done = manage("check", "--deploy", "--fail-level", "WARNING", **environment)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_the_deployment_check_warns_of_sqlite_with_a_hint() -> None:
    done = manage("check", "--deploy", **PRODUCTION | {"DATABASE_URL": "sqlite:////tmp/never-made.sqlite3"})
    assert "ifeportal.W002" in done.stderr
    assert "HINT" in done.stderr


def started(**more: str) -> subprocess.CompletedProcess[str]:
    """Run a process of the portal that prints what its libraries see of these variables."""
    script = f"import os, ifeportal.settings; print([os.environ.get(name) for name in {sorted(more)!r}])"
    environment = {"PATH": os.environ["PATH"], "DEBUG": "1", **more}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_what_libraries_read_from_the_environment_is_trimmed() -> None:
    values = {
        "AWS_ACCESS_KEY_ID": "AKEY",
        "AWS_CA_BUNDLE": "/etc/ssl/ca.pem",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_PROFILE": "crew",
        "AWS_REGION": "eu-west-1",
        "AWS_SECRET_ACCESS_KEY": "SECRET",
        "AWS_SESSION_TOKEN": "TOKEN",
        "HTTPS_PROXY": "http://127.0.0.1:2",
        "MEDIA_BUCKET": "media",
    }
    ended = started(**{name: f" {value}\r\n" for name, value in values.items()})
    assert (ended.stdout, ended.stderr) == (f"{list(values.values())!r}\n", "")
    assert started(AWS_SESSION_TOKEN="\r").stdout == "[None]\n"


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_REGION", "STATUS_BUCKET"])
def test_a_control_character_inside_is_refused_and_the_value_not_shown(name: str) -> None:
    ended = started(**{name: "half\rother"})
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"{name} contains a control character" in ended.stderr
    assert "half" not in ended.stderr
