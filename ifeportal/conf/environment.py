"""Settings of the portal, read from the environment: typed, with defaults and error messages.

Pure: takes a mapping and returns a Config. Reads only the files that NAME_FILE variables name (secrets). `settings.py`
builds Django's settings from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import environ

T = TypeVar("T")

KEY_LENGTH = 50
PLACEHOLDER_WORDS = ("changeme", "change-me", "change_me", "placeholder", "insecure", "development", "secret-key")
RESERVED_BUCKET_NAMES = {"status", "healthz"}
ORIGIN = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
DURATION_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SECOND_FACTOR_GROUPS = ("staff", "manager", "operator", "viewer")
DEVELOPMENT_KEY = "development-only-never-used-with-debug-off-0123456789"


class ConfigError(ValueError):
    """Invalid settings; `str()` has one sentence per line."""


def setting(parse: Callable[[str], T], default: T, meaning: str) -> T:
    """Declare a setting: parser of its text, default, and documentation."""
    value: T = field(default=default, metadata={"parse": parse, "meaning": meaning})
    return value


def parse_flag(value: str) -> bool:
    """Parse 1, true, yes, on, 0, false, no or off, in any case."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if value.lower() not in words:
        raise ValueError("must be 1 or 0")
    return words[value.lower()]


def parse_seconds(value: str) -> float:
    """Parse a duration such as `2`, `2s`, `1.5 min` or `2h` into seconds."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)", value.strip().lower(), re.ASCII)
    if (
        not match
        or match[2] not in DURATION_UNITS
        or not 0 < float(match[1]) * DURATION_UNITS[match[2]] <= 86400
        or len(value) > 20
    ):
        raise ValueError("must be a duration above zero and at most one day, such as 2s or 1.5 min")
    return float(match[1]) * DURATION_UNITS[match[2]]


def parse_count(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) or not int(value):
        raise ValueError("must be a whole number above zero")
    return int(value)


def parse_names(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


def parse_origins(value: str) -> tuple[str, ...]:
    """Parse origins separated by commas, each with its scheme."""
    origins = parse_names(value)
    for origin in origins:
        if not re.fullmatch(r"https?://[^/\s]+", origin):
            raise ValueError(f"must be origins such as https://ife.example.org, separated by commas, not {origin!r}")
    return origins


def parse_origin(value: str) -> str:
    """Parse the URL of a site: scheme, host and optional port. Removes one trailing slash."""
    plain = value.removesuffix("/").lower()
    try:
        valid = ORIGIN.fullmatch(plain) and urlsplit(plain).port != 0
    except ValueError:  # a port above 65535, or no IPv6 address in the brackets
        valid = False
    if not valid:
        raise ValueError("must be a URL such as https://ife.example.org, without a path or a user name")
    return plain


def parse_bucket_name(value: str) -> str:
    if value in RESERVED_BUCKET_NAMES:
        raise ValueError(
            f"must not be {value!r}: SeaweedFS serves its health page at this path, so every listing is empty"
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value, re.ASCII):
        raise ValueError("must be 3 to 63 lower-case letters, digits, dots and hyphens")
    return value


def url_parser(*schemes: str) -> Callable[[str], str]:
    """Return a parser of URLs that have a host and one of the schemes."""

    def parse(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return value

    return parse


def parse_issuer(value: str) -> str:
    """Parse the URL of an OpenID Connect issuer: https, or http on this machine for development."""
    parts = urlsplit(value)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) not in (("http", "localhost"), ("http", "127.0.0.1")):
        raise ValueError("must be a URL that starts with https://")
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be a URL such as https://login.example.org/realms/crew")
    return value.rstrip("/")


def parse_second_factor_groups(value: str) -> tuple[str, ...]:
    """Parse `staff` and roles, separated by commas, or `none`."""
    groups = () if value.strip() == "none" else parse_names(value)
    if unknown := set(groups) - set(SECOND_FACTOR_GROUPS):
        raise ValueError(f"must be none, or some of {', '.join(SECOND_FACTOR_GROUPS)}, not {min(unknown)!r}")
    return groups


def parse_database_url(value: str) -> dict[str, Any]:
    """Parse `postgres://user:password@host/name` or `sqlite:///path` into an entry of Django's DATABASES."""
    if not value.startswith(("postgres://", "postgresql://", "sqlite:///")):
        raise ValueError("must start with postgres:// or sqlite:///")
    try:
        parsed: dict[str, Any] = environ.Env.db_url_config(value)
    except (ValueError, KeyError, environ.ImproperlyConfigured) as error:
        raise ValueError("must be a URL such as postgres://user:password@host/name") from error
    if not parsed.get("NAME"):
        raise ValueError("must name a database after the last slash")
    return parsed


def parse_email_url(value: str) -> dict[str, Any]:
    """Parse `smtp+tls://user:password@host:587` or `consolemail://` into Django's EMAIL_ settings."""
    try:
        parsed: dict[str, Any] = environ.Env.email_url_config(value)
    except (ValueError, KeyError, environ.ImproperlyConfigured) as error:
        raise ValueError("must be a URL such as smtp+tls://user:password@host:587 or consolemail://") from error
    return parsed


@dataclass(frozen=True)
class Config:
    """All settings. The environment variable is the field's name in capitals.

    NAME_FILE may name a file that contains the value, for secrets.
    """

    debug: bool = setting(
        parse_flag,
        False,
        "Development mode. Default: on, unless SECRET_KEY, ALLOWED_HOSTS or a PostgreSQL DATABASE_URL is set.",
    )
    secret_key: str = setting(
        str,
        "",
        f"Signs cookies and links, encrypts second factors; at least {KEY_LENGTH} random characters. "
        "Required unless DEBUG.",
    )
    secret_key_fallbacks: tuple[str, ...] = setting(
        parse_names,
        (),
        "Earlier values of SECRET_KEY, separated by commas. What they signed or encrypted can still be read.",
    )
    allowed_hosts: tuple[str, ...] = setting(
        parse_names, ("localhost", "127.0.0.1", "[::1]"), "Host names of this portal."
    )
    csrf_trusted_origins: tuple[str, ...] = setting(
        parse_origins,
        (),
        "Origins, with scheme, whose forms are accepted. Required behind a proxy that changes the host.",
    )
    https: bool | None = setting(
        parse_flag, None, "HTTPS only: redirects, secure cookies, HSTS. Default: on, unless DEBUG."
    )
    behind_proxy: bool = setting(
        parse_flag,
        False,
        "Trust X-Forwarded-Proto and the last address of X-Forwarded-For. "
        "Set it only behind your own proxy that sets both on every request.",
    )
    proxy_hops: int = setting(
        parse_count,
        1,
        "With BEHIND_PROXY: number of your own proxies that append to X-Forwarded-For. "
        "The client's address is the entry that many from the end.",
    )
    database_url: Mapping[str, Any] | None = setting(
        parse_database_url, None, "PostgreSQL or SQLite. Default: SQLite in var/ifeportal.sqlite3."
    )
    redis_url: str = setting(
        url_parser("redis", "rediss"),
        "",
        "Shares the counts of API throttles and the used one-time codes among all web processes. Optional.",
    )
    email_url: Mapping[str, Any] | None = setting(
        parse_email_url, None, "Mail server. Default: e-mails are written to the log."
    )
    portal_url: str = setting(
        parse_origin,
        "",
        "URL of this portal in e-mails, such as https://ife.example.org. "
        "Required with EMAIL_URL unless DEBUG. Default: http://localhost:8000.",
    )
    email_from: str = setting(str, "ifeportal@localhost", "Sender address of e-mails.")
    second_factor_for: tuple[str, ...] = setting(
        parse_second_factor_groups,
        (),
        "Users who must have a second factor: some of staff,manager,operator,viewer. Default: none.",
    )
    oidc_issuer: str = setting(
        parse_issuer, "", "Single sign-on: URL of the OpenID Connect issuer. Default: passwords and passkeys only."
    )
    oidc_client_id: str = setting(str, "", "Single sign-on: client ID of this portal at the issuer.")
    oidc_client_secret: str = setting(str, "", "Single sign-on: client secret of this portal.")
    oidc_name: str = setting(str, "single sign-on", "Single sign-on: name of the service on the sign-in button.")
    oidc_creates_users: bool = setting(
        parse_flag,
        False,
        "Single sign-on: create a user, without airlines, for a verified e-mail address that no user has.",
    )
    media_bucket: str = setting(parse_bucket_name, "ife-media", "Bucket of the content to load, also called staging.")
    status_bucket: str = setting(parse_bucket_name, "ife-status", "Bucket of the reports from aircraft.")
    aws_access_key_id: str = setting(
        str, "", "S3 credentials. Any other source of credentials that boto3 supports works too."
    )
    aws_secret_access_key: str = setting(str, "", "S3 credentials: the secret of AWS_ACCESS_KEY_ID.")
    aws_region: str = setting(str, "", "S3 region. Default: us-east-1.")
    aws_endpoint_url_s3: str = setting(url_parser("http", "https"), "", "URL of the S3 service. Default: AWS.")
    poll_interval: float = setting(
        parse_seconds,
        2.0,
        "Interval between listings of an airline's prefixes while loads progress or live pages are open.",
    )
    poll_ceiling: float = setting(
        parse_seconds, 60.0, "Longest interval between listings while nothing changes; never below POLL_INTERVAL."
    )
    archive_after: int | None = setting(
        parse_count,
        None,
        "Days after which a finished load is archived into one object. Default: never, unless its airline sets it.",
    )
    signing_keys: tuple[str, ...] = setting(
        parse_names,
        (),
        "Private keys that sign what the admin publishes: PEM files of mode 0600, separated by commas.",
    )
    signing_passphrase: str = setting(str, "", "Passphrase of the encrypted SIGNING_KEYS.")
    ready_within: float | None = setting(
        parse_seconds,
        None,
        "/readyz: maximum age of the last good poll. Default: the longer of 3 POLL_CEILING and 10 POLL_INTERVAL.",
    )
    status_events_queue_url: str = setting(
        url_parser("http", "https"),
        "",
        "SQS queue that receives an event for each change in STATUS_BUCKET. Default: polls only.",
    )
    metrics_token: str = setting(str, "", "/metrics: bearer token of the scraper. Staff need none.")
    live_sockets_per_user: int = setting(parse_count, 20, "Maximum number of live pages per user in one web process.")
    static_root: str = setting(str, "staticfiles", "Directory into which collectstatic copies static files.")
    log_level: str = setting(str, "INFO", "DEBUG, INFO, WARNING or ERROR.")
    log_json: bool | None = setting(parse_flag, None, "Log one JSON object per line. Default: on, unless DEBUG.")


def read_config(environment: Mapping[str, str]) -> Config:
    """Read all settings. Raises ConfigError with a sentence for each invalid one."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for entry in fields(Config):
        name = entry.name.upper()
        try:
            text = _read_value(environment, name)
            if text:
                values[entry.name] = entry.metadata["parse"](text)
        except (ValueError, OSError) as error:
            problems.append(f"{name} {error}.")
    if "debug" not in values:
        values["debug"] = not _looks_like_production(values)
    if values["debug"]:
        values.setdefault("secret_key", DEVELOPMENT_KEY)
    config = Config(**values)
    problems += _conflicts(config)
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def _read_value(environment: Mapping[str, str], name: str) -> str:
    """Return the text of a setting, from NAME or from the file that NAME_FILE names; "" without either."""
    path = environment.get(f"{name}_FILE")
    if path and not environment.get(name):
        return Path(path).read_text(encoding="utf-8").strip()
    return environment.get(name, "").strip()


def _looks_like_production(values: Mapping[str, Any]) -> bool:
    server = values.get("database_url", {}).get("ENGINE") == "django.db.backends.postgresql"
    return server or "secret_key" in values or "allowed_hosts" in values


def _conflicts(config: Config) -> list[str]:
    problems = [] if config.debug else _secret_key_problems(config.secret_key)
    if config.media_bucket == config.status_bucket:
        problems.append("MEDIA_BUCKET and STATUS_BUCKET must be different buckets.")
    if bool(config.aws_access_key_id) != bool(config.aws_secret_access_key):
        problems.append("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together. Set both or neither.")
    if "*" in config.allowed_hosts and not config.debug:
        problems.append("ALLOWED_HOSTS must list the hosts: * would let any site open live updates.")
    if config.email_url and not config.portal_url and not config.debug:
        problems.append("PORTAL_URL is missing. EMAIL_URL requires it, for the links in e-mails.")
    if len({bool(value) for value in (config.oidc_issuer, config.oidc_client_id, config.oidc_client_secret)}) > 1:
        problems.append("OIDC_ISSUER, OIDC_CLIENT_ID and OIDC_CLIENT_SECRET belong together. Set all three or none.")
    if config.log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        problems.append("LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR.")
    return problems


def _secret_key_problems(key: str) -> list[str]:
    how = "Generate one: python -c 'import secrets; print(secrets.token_urlsafe(50))'."
    if not key:
        return [f"SECRET_KEY is missing. {how} For development, set DEBUG=1 instead."]
    if any(word in key.lower() for word in PLACEHOLDER_WORDS):
        return [f"SECRET_KEY is a placeholder. {how}"]
    if len(key) < KEY_LENGTH or len(set(key)) < 10:
        return [f"SECRET_KEY is too weak: it must have at least {KEY_LENGTH} random characters. {how}"]
    return []
