"""Settings come from the environment, are typed, and are refused with a sentence if invalid."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from dataclasses import fields
from pathlib import Path

import pytest

from ifeportal.conf.environment import Config, ConfigError, load_config, read_config, upload_origin
from tests.support.portal_forks import run
from tests.support.production_environment import KEY, PRODUCTION, manage

ROOT = Path(__file__).resolve().parents[3]


def test_without_any_setting_it_is_development() -> None:
    config = read_config({})
    assert config.debug
    assert config.database_url is None
    assert (config.media_bucket, config.status_bucket) == ("ife-media", "ife-status")
    assert config.poll_interval == 2.0


@pytest.mark.parametrize("name", ["SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL"])
def test_production_settings_disable_debug(name: str) -> None:
    environment = {"SECRET_KEY": KEY, name: PRODUCTION[name]}
    assert not read_config(environment).debug


OIDC = {"OIDC_ISSUER": "https://login.example.org", "OIDC_CLIENT_ID": "portal", "OIDC_CLIENT_SECRET": "s3cr3t-of-oidc"}
ONLY_IN_PRODUCTION = [
    {"HTTPS": "1"},
    {"BEHIND_PROXY": "1"},
    {"SECOND_FACTOR_FOR": "staff"},
    {"EMAIL_URL": "smtp+tls://user:password@mail.example.org:587", "PORTAL_URL": "https://ife.example.org"},
    OIDC,
]


@pytest.mark.parametrize("settings", ONLY_IN_PRODUCTION, ids=lambda settings: next(iter(settings)))
def test_a_setting_that_only_production_needs_requires_a_key(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"SECRET_KEY is missing.* For development, set DEBUG=1 instead"):
        read_config(settings)
    assert not read_config(settings | {"SECRET_KEY": KEY}).debug
    assert read_config(settings | {"DEBUG": "1"}).debug


@pytest.mark.parametrize(
    "settings",
    [{"HTTPS": "0"}, {"BEHIND_PROXY": "off"}, {"SECOND_FACTOR_FOR": "none"}, {"EMAIL_URL": "consolemail://"}],
)
def test_a_setting_that_is_off_is_still_development(settings: dict[str, str]) -> None:
    assert read_config(settings).debug


def test_mail_with_links_may_not_go_to_the_log_in_production() -> None:
    with pytest.raises(ConfigError, match="EMAIL_URL must name a mail server"):
        read_config(PRODUCTION | {"EMAIL_URL": "consolemail://", "PORTAL_URL": "https://ife.example.org"})


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
def test_production_requires_a_strong_secret_key(key: str, sentence: str) -> None:
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
        ("UPLOAD_MAX_SIZE", "6 TiB", "UPLOAD_MAX_SIZE must be a size above zero and at most 5.5 TB"),
        ("UPLOAD_MAX_SIZE", "0", "UPLOAD_MAX_SIZE must be a size above zero"),
        ("UPLOAD_QUOTA", "-1", "UPLOAD_QUOTA must be a size above zero"),
        ("UPLOAD_QUOTA", "a lot", "UPLOAD_QUOTA must be a size above zero"),
        ("LIBRARY_QUOTA", "9" * 400, "LIBRARY_QUOTA must be a size above zero"),
        ("UPLOAD_MAX_FILES", "1.5", "UPLOAD_MAX_FILES must be a whole number"),
        ("UPLOAD_EXPIRES", "9 seconds", "UPLOAD_EXPIRES must be a duration from 10 s to 365 days"),
        ("UPLOAD_EXPIRES", "soon", "UPLOAD_EXPIRES must be a duration"),
        ("UPLOAD_ORPHAN_AGE", "1 minute", "UPLOAD_ORPHAN_AGE must be a duration from 1 h 00 min to 365 days"),
        ("STATUS_BUCKET", "status", "STATUS_BUCKET must not be 'status': SeaweedFS"),
        ("MEDIA_BUCKET", "healthz", "MEDIA_BUCKET must not be 'healthz': SeaweedFS"),
        ("MEDIA_BUCKET", "Über-eimer", "MEDIA_BUCKET must be 3 to 63"),
        ("METRICS_TOKEN", "x", "METRICS_TOKEN must have at least 20 random characters"),
        ("ALLOWED_HOSTS", "https://ife.example.org", "ALLOWED_HOSTS must be host names"),
        ("ALLOWED_HOSTS", "ife.example.org:8000", "ALLOWED_HOSTS must be host names"),
        ("ALLOWED_HOSTS", "\u0456fe.example.org", "ALLOWED_HOSTS must be host names"),
        ("CSRF_TRUSTED_ORIGINS", "https://\u0456fe.example.org", "CSRF_TRUSTED_ORIGINS must be origins"),
        ("REDIS_URL", "cache:6379/0", "REDIS_URL must be a URL"),
        ("EMAIL_URL", "smtp.example.org:587", "EMAIL_URL must be a URL"),
        ("EMAIL_URL", "smtp+tls://", "EMAIL_URL must be a URL"),
        ("OIDC_ISSUER", "login.example.org", "OIDC_ISSUER must be a URL"),
        ("OIDC_ISSUER", "https://[::1", "OIDC_ISSUER must be a URL"),
        ("STATUS_EVENTS_QUEUE_URL", "sqs.example.org/1/events", "STATUS_EVENTS_QUEUE_URL must be a URL"),
        ("AWS_REGION", "eu central", "AWS_REGION must be the name of a region"),
        ("SECRET_KEY", f'"{KEY}"', "SECRET_KEY is in quotation marks: remove them, or use SECRET_KEY_FILE"),
        ("POLL_INTERVAL", "2\n3", "POLL_INTERVAL contains a control character"),
        ("OIDC_NAME", "single\x00sign-on", "OIDC_NAME contains a control character"),
        ("MEDIA_BUCKET", "ife-status", "MEDIA_BUCKET and STATUS_BUCKET must be different buckets."),
        ("DATABASE_URL", "mysql://host/name", "DATABASE_URL must start with postgres://"),
        ("DATABASE_URL", "postgres://host", "DATABASE_URL must name a database"),
        ("DATABASE_URL", "nonsense", "DATABASE_URL must"),
        ("REDIS_URL", "http://host", "REDIS_URL must be a URL"),
        ("EMAIL_URL", "carrier-pigeon://host", "EMAIL_URL must be a URL"),
        ("AWS_ENDPOINT_URL_S3", "s3.example.org", "AWS_ENDPOINT_URL_S3 must be a URL"),
        ("AWS_S3_ADDRESSING_STYLE", "dns", "AWS_S3_ADDRESSING_STYLE must be auto, path or virtual"),
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
                "https://ife.example.org\\@evil.example",
                "https://\u0456fe.example.org",
            )
        ),
        ("PORTAL_URL", "https://ife.example.org\nX-Evil: 1", "PORTAL_URL contains a control character"),
        ("LIVE_SOCKETS_PER_USER", "0", "LIVE_SOCKETS_PER_USER must be a whole number above zero."),
        ("LIVE_SOCKETS_PER_USER", "\uff11\uff12", "LIVE_SOCKETS_PER_USER must be a whole number above zero."),
        ("LOG_LEVEL", "loud", "LOG_LEVEL must be DEBUG"),
        ("SECRET_KEY_FILE", "/no/such/file", "SECRET_KEY_FILE names a file that cannot be read (No such file"),
        ("SECRET_KEY_FILE", "/etc", "SECRET_KEY_FILE names a file that cannot be read (Is a directory)"),
        ("METRICS_TOKEN_FILE", "/dev/zero", "METRICS_TOKEN_FILE names a file of more than 1 MiB"),
    ],
)
def test_a_wrong_setting_is_refused_with_a_sentence_that_names_it(name: str, value: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_config({"DEBUG": "1", name: value})
    assert sentence in str(refused.value)


def test_a_bucket_cannot_be_part_of_an_ip_address() -> None:
    local = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:8333"}
    assert read_config(local | {"AWS_S3_ADDRESSING_STYLE": "path"}).aws_s3_addressing_style == "path"
    with pytest.raises(ConfigError, match="AWS_S3_ADDRESSING_STYLE cannot be virtual: the endpoint has an IP address"):
        read_config(local | {"AWS_S3_ADDRESSING_STYLE": "virtual"})


def test_every_host_is_not_a_name_in_production() -> None:
    with pytest.raises(ConfigError, match="ALLOWED_HOSTS must list the hosts"):
        read_config(PRODUCTION | {"ALLOWED_HOSTS": "*"})


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        read_config({"DEBUG": "0", "POLL_INTERVAL": "x", "STATUS_BUCKET": "status"})
    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "expected"), [("2", 2.0), ("2.5s", 2.5), ("500ms", 0.5), ("1 min", 60.0), ("1h", 3600)]
)
def test_a_duration_is_written_as_people_write_it(text: str, expected: float) -> None:
    assert read_config({"POLL_INTERVAL": text}).poll_interval == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("UPLOAD_MAX_SIZE", "40 GB", 40 * 10**9),
        ("UPLOAD_MAX_SIZE", "5TiB", 5 * 2**40),
        ("UPLOAD_QUOTA", "512 MiB", 512 * 2**20),
        ("UPLOAD_MAX_FILES", "7", 7),
        ("LIBRARY_QUOTA", "2 TB", 2 * 10**12),
        ("LIBRARY_QUOTA", "", None),
        ("UPLOAD_EXPIRES", "10 seconds", 10.0),
        ("UPLOAD_EXPIRES", "7 days", 604_800.0),
        ("UPLOAD_ORPHAN_AGE", "48 hours", 172_800.0),
        ("UPLOAD_ORPHAN_AGE", "1d 12h", 129_600.0),
    ],
)
def test_limits_of_uploads_are_written_as_people_write_them(name: str, text: str, expected: float | None) -> None:
    assert getattr(read_config({name: text}), name.lower()) == expected


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


def test_mail_in_production_requires_the_address_of_its_links() -> None:
    mail = PRODUCTION | {"EMAIL_URL": "smtp+tls://user:password@mail.example.org:587"}
    with pytest.raises(ConfigError, match="PORTAL_URL is missing"):
        read_config(mail)
    assert read_config(mail | {"PORTAL_URL": "https://ife.example.org"}).portal_url == "https://ife.example.org"
    assert read_config({"EMAIL_URL": "consolemail://"}).portal_url == ""


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n", encoding="utf-8")
    assert read_config({"SECRET_KEY_FILE": str(tmp_path / "key")}).secret_key == KEY


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \t\0"])
def test_a_file_may_be_written_by_any_editor(encoding: str, end: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(f"{KEY}{end}".encode(encoding))
    assert read_config({"SECRET_KEY_FILE": f"{tmp_path / 'key'}\r"}).secret_key == KEY


def test_a_file_that_is_not_text_is_refused_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xffhunter2")
    with pytest.raises(ConfigError, match="SECRET_KEY_FILE names a file that is not text in UTF-8") as refused:
        read_config({"SECRET_KEY_FILE": str(tmp_path / "key")})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", [entry.name.upper() for entry in fields(Config)])
@pytest.mark.parametrize("value", ["hunter2\rhunter2", "hunter2\0", "s3://hunter2/x\ty", "\u0441rew hunter2\x1b"])
def test_no_refusal_contains_the_value(name: str, value: str, tmp_path: Path) -> None:
    for environment in ({name: value}, {f"{name}_FILE": value}, {f"{name}_FILE": str(tmp_path / "hunter2")}):
        message = refusal({"DEBUG": "1", **environment})
        assert not message or name in message
        assert "hunter2" not in message


def refusal(environment: dict[str, str]) -> str:
    """Return the error with its traceback, "" if the settings are accepted."""
    try:
        read_config(environment)
    except ConfigError:
        return traceback.format_exc()
    return ""


@pytest.mark.parametrize("name", ["\ufeffSECRET_KEY", "export SECRET_KEY", "SECRET_KEY "])
def test_a_variable_with_something_before_its_name_is_not_passed_over(name: str) -> None:
    with pytest.raises(ConfigError, match="SECRET_KEY is not set, because something precedes or follows its name"):
        read_config({"DEBUG": "1", name: KEY})


CLEAN = {
    "ALLOWED_HOSTS": ("ife.example.org", ("ife.example.org",)),
    "DEBUG": ("1", True),
    "HTTPS": ("0", False),
    "MEDIA_BUCKET": ("films", "films"),
    "POLL_INTERVAL": ("3s", 3.0),
    "REDIS_URL": ("redis://cache:6379/0", "redis://cache:6379/0"),
    "AWS_ENDPOINT_URL_S3": ("http://store:9000", "http://store:9000"),
    "AWS_REGION": ("garage", "garage"),
    "PORTAL_URL": ("https://ife.example.org", "https://ife.example.org"),
    "SECOND_FACTOR_FOR": ("staff", ("staff",)),
    "OIDC_NAME": ("sign-on of the crew", "sign-on of the crew"),
    "LOG_LEVEL": ("DEBUG", "DEBUG"),
}


@pytest.mark.parametrize("form", ['"{}"', "'{}'", "{}\r", " {}\r\n", "\ufeff{}", "\u200b{}\u00a0", "\ufeff'{}'\r"])
@pytest.mark.parametrize("name", CLEAN)
def test_whitespace_and_quotes_around_a_value_are_removed(name: str, form: str) -> None:
    text, value = CLEAN[name]
    assert getattr(read_config({"DEBUG": "1"} | {name: form.format(text)}), name.lower()) == value


@pytest.mark.parametrize("command", ["check", "publish_campaign", "poll_buckets", "tail_policy", "qcluster"])
def test_every_command_ends_with_2_and_the_sentence(command: str) -> None:
    done = manage(command, MEDIA_BUCKET="s3://hunter2", HTTPS_PROXY="http://crew:hunter2/x@proxy:1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "MEDIA_BUCKET must be the name of a bucket alone, without s3://" in done.stderr
    assert "HTTPS_PROXY must be the address of a proxy" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_the_start_is_refused_without_a_key_and_without_a_traceback() -> None:
    done = manage("check", DEBUG="0")
    assert done.returncode == 2
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
    environment = PRODUCTION | {
        "STATIC_ROOT": str(tmp_path / "static"),
        "BEHIND_PROXY": "1",
        "SECOND_FACTOR_FOR": "staff",
        "EMAIL_URL": "smtp+tls://user:password@mail.example.org:587",
        "PORTAL_URL": "https://ife.example.org",
    }
    collected = manage("collectstatic", "--noinput", **environment)
    assert collected.returncode == 0, collected.stderr
    done = manage("check", "--deploy", "--fail-level", "WARNING", **environment)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_the_deployment_check_warns_of_what_is_missing_with_a_hint(tmp_path: Path) -> None:
    missing = {"DATABASE_URL": "sqlite:////tmp/never-made.sqlite3", "STATIC_ROOT": str(tmp_path / "static")}
    done = manage("check", "--deploy", **PRODUCTION | missing)
    for warning in (
        "ifeportal.W001",
        "W002) The database is SQLite",
        "W003) SECOND_FACTOR_FOR is not set",
        "W004) EMAIL_URL is not set",
        "W005) HTTPS is on and BEHIND_PROXY is off",
    ):
        assert warning in done.stderr
    assert done.stderr.count("HINT") >= 4


def started(**more: str) -> subprocess.CompletedProcess[str]:
    """Run a process of the portal that prints what its libraries see of these variables."""
    script = f"import os, ifeportal.settings; print([os.environ.get(name) for name in {sorted(more)!r}])"
    environment = {"PATH": os.environ["PATH"], "DEBUG": "1", **more}
    return run([sys.executable, "-c", script], env=environment)


def test_variables_of_libraries_are_trimmed() -> None:
    values = {
        "AWS_ACCESS_KEY_ID": "AKEY",
        "AWS_CONFIG_FILE": "/etc/aws/config",
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
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"{name} contains a control character" in ended.stderr
    assert "half" not in ended.stderr


def test_credentials_of_the_store_may_be_in_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"AKEY\r\n")
    (tmp_path / "secret").write_bytes("\ufeffthe-secret\n".encode("utf-16-le"))
    files = {"AWS_ACCESS_KEY_ID_FILE": str(tmp_path / "key"), "AWS_SECRET_ACCESS_KEY_FILE": str(tmp_path / "secret")}
    environment = {"DEBUG": "1", **files}
    config = load_config(environment)
    assert (config.aws_access_key_id, config.aws_secret_access_key) == ("AKEY", "the-secret")
    # The client of the store and boto3 read the environment.
    assert (environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]) == ("AKEY", "the-secret")


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_file_of_authorities_that_is_missing_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{name} names a file that cannot be read") as refused:
        load_config({"DEBUG": "1", name: str(tmp_path / "hunter2.pem")})
    assert "hunter2" not in str(refused.value)


def test_the_proxy_of_the_event_queue_is_checked_too() -> None:
    queue = {"STATUS_EVENTS_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/events"}
    store = {"AWS_ENDPOINT_URL_S3": "http://store:9000", "HTTPS_PROXY": "socks5://proxy:1080"}
    assert load_config({"DEBUG": "1", **store})
    with pytest.raises(ConfigError, match="HTTPS_PROXY must be an http:// or https:// address"):
        load_config({"DEBUG": "1", **store, **queue})


@pytest.mark.parametrize(
    ("environment", "origin"),
    [
        ({}, "https://ife-media.s3.us-east-1.amazonaws.com"),
        ({"AWS_REGION": "eu-west-1", "MEDIA_BUCKET": "a.b"}, "https://s3.eu-west-1.amazonaws.com"),
        ({"AWS_ENDPOINT_URL_S3": "http://10.0.0.7:8333/s3"}, "http://10.0.0.7:8333"),
        (
            {"AWS_ENDPOINT_URL_S3": "http://store:8333", "MEDIA_PUBLIC_URL": "https://s3.example.net:443"},
            "https://s3.example.net",
        ),
        (
            {"MEDIA_PUBLIC_URL": "https://s3.example.net", "AWS_S3_ADDRESSING_STYLE": "virtual"},
            "https://ife-media.s3.example.net",
        ),
    ],
)
def test_pages_may_connect_to_the_store_where_clients_reach_it(
    environment: dict[str, str], origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null/none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null/none")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert upload_origin(read_config({"DEBUG": "1", **environment})) == origin


def test_a_public_address_that_cannot_have_a_bucket_in_its_name_is_refused() -> None:
    environment = {"DEBUG": "1", "AWS_S3_ADDRESSING_STYLE": "virtual", "MEDIA_PUBLIC_URL": "http://10.0.0.7:8333"}
    with pytest.raises(ConfigError, match="MEDIA_PUBLIC_URL cannot be used with AWS_S3_ADDRESSING_STYLE=virtual"):
        read_config(environment)
