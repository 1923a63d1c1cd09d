"""Settings of the portal, read from the environment: typed, with defaults and error messages.

Pure: takes a mapping and returns a Config; reads from disk only the files that NAME_FILE settings name (secrets).
`settings.py` builds Django's settings from it.
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
    """Some settings are wrong; `str()` has one sentence a line."""


def setting(parse: Callable[[str], T], default: T, meaning: str) -> T:
    """A setting: how its text is read, what holds when it isn't given, what it is for."""
    value: T = field(default=default, metadata={"parse": parse, "meaning": meaning})
    return value


def parse_flag(value: str) -> bool:
    """Yes or no, as people write it."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if value.lower() not in words:
        raise ValueError("must be 1 or 0")
    return words[value.lower()]


def parse_seconds(value: str) -> float:
    """A duration: `2`, `2s`, `1.5 min`, `2h`."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)", value.strip().lower(), re.ASCII)
    if (
        not match
        or match[2] not in DURATION_UNITS
        or not 0 < float(match[1]) * DURATION_UNITS[match[2]] <= 86400
        or len(value) > 20
    ):
        raise ValueError("must be a duration above zero and of at most a day, such as 2s or 1.5 min")
    return float(match[1]) * DURATION_UNITS[match[2]]


def parse_count(value: str) -> int:
    """A whole number above zero."""
    if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) or not int(value):
        raise ValueError("must be a whole number above zero")
    return int(value)


def parse_names(value: str) -> tuple[str, ...]:
    """Words separated by commas."""
    return tuple(word.strip() for word in value.split(",") if word.strip())


def parse_origins(value: str) -> tuple[str, ...]:
    """Origins separated by commas, each with its scheme."""
    found = parse_names(value)
    for origin in found:
        if not re.fullmatch(r"https?://[^/\s]+", origin):
            raise ValueError(f"must be origins such as https://ife.example.org, separated by commas, not {origin!r}")
    return found


def origin(value: str) -> str:
    """The address of a site: scheme, host and port, nothing after them but one slash, which is taken off."""
    plain = value.removesuffix("/").lower()
    try:
        valid = ORIGIN.fullmatch(plain) and urlsplit(plain).port != 0
    except ValueError:  # a port above 65535, or no IPv6 address in the brackets
        valid = False
    if not valid:
        raise ValueError("must be an address such as https://ife.example.org, without a path or a user name")
    return plain


def parse_bucket_name(value: str) -> str:
    """The name of a bucket."""
    if value in RESERVED_BUCKET_NAMES:
        raise ValueError(f"must not be {value!r}: SeaweedFS answers its health page there, and every listing is empty")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value, re.ASCII):
        raise ValueError("must be 3 to 63 small letters, digits, dots and hyphens")
    return value


def url_parser(*schemes: str) -> Callable[[str], str]:
    """A URL of one of the schemes, with a host."""

    def parse(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"must be an address that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return value

    return parse


def parse_issuer(value: str) -> str:
    """The address of a sign-in service: https, or http on this machine, for development."""
    parts = urlsplit(value)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) not in (("http", "localhost"), ("http", "127.0.0.1")):
        raise ValueError("must be an address that begins with https://")
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an address such as https://login.example.org/realms/crew")
    return value.rstrip("/")


def parse_second_factor_groups(value: str) -> tuple[str, ...]:
    """Who needs a second factor: `staff` and roles, separated by commas; `none` for nobody."""
    found = () if value.strip() == "none" else parse_names(value)
    if unknown := set(found) - set(SECOND_FACTOR_GROUPS):
        raise ValueError(f"must be none, or some of {', '.join(SECOND_FACTOR_GROUPS)}, not {min(unknown)!r}")
    return found


def parse_database_url(value: str) -> dict[str, Any]:
    """A database's URL, as Django wants it: `postgres://user:password@host/name` or `sqlite:///path`."""
    if not value.startswith(("postgres://", "postgresql://", "sqlite:///")):
        raise ValueError("must begin with postgres:// or sqlite:///")
    try:
        parsed: dict[str, Any] = environ.Env.db_url_config(value)
    except (ValueError, KeyError, environ.ImproperlyConfigured) as error:
        raise ValueError("must be an address such as postgres://user:password@host/name") from error
    if not parsed.get("NAME"):
        raise ValueError("must name a database after the last slash")
    return parsed


def parse_email_url(value: str) -> dict[str, Any]:
    """A mail server's URL, as Django's EMAIL_ settings: `smtp+tls://user:password@host:587`, `consolemail://`."""
    try:
        parsed: dict[str, Any] = environ.Env.email_url_config(value)
    except (ValueError, KeyError, environ.ImproperlyConfigured) as error:
        raise ValueError("must be an address such as smtp+tls://user:password@host:587 or consolemail://") from error
    return parsed


@dataclass(frozen=True)
class Config:
    """Every setting; the environment's name is the field's in capitals.

    A secret may be given as NAME_FILE, a path, instead.
    """

    debug: bool = setting(
        parse_flag,
        False,
        "Development. If not given: on, unless SECRET_KEY, ALLOWED_HOSTS or a PostgreSQL DATABASE_URL is.",
    )
    secret_key: str = setting(str, "", f"Signs tokens; at least {KEY_LENGTH} random characters. Needed unless DEBUG.")
    secret_key_fallbacks: tuple[str, ...] = setting(
        parse_names,
        (),
        "Earlier values of SECRET_KEY, separated by commas: what they signed and encrypted is still read.",
    )
    allowed_hosts: tuple[str, ...] = setting(
        parse_names, ("localhost", "127.0.0.1", "[::1]"), "Names this portal is reached by."
    )
    csrf_trusted_origins: tuple[str, ...] = setting(
        parse_origins, (), "Origins whose forms are taken, with scheme; needed behind a proxy that changes the host."
    )
    https: bool | None = setting(
        parse_flag, None, "Only over HTTPS: redirects, secure cookies, HSTS. If not given: on, unless DEBUG."
    )
    behind_proxy: bool = setting(
        parse_flag, False, "A proxy of ours sets X-Forwarded-Proto on every request; never on without one."
    )
    database_url: Mapping[str, Any] | None = setting(
        parse_database_url, None, "PostgreSQL or SQLite. If not given: SQLite in var/ifeportal.sqlite3."
    )
    redis_url: str = setting(
        url_parser("redis", "rediss"),
        "",
        "Counts API throttles and one-time codes for all web processes together. Not needed.",
    )
    email_url: Mapping[str, Any] | None = setting(
        parse_email_url, None, "Mail server. If not given: mail goes to the log."
    )
    portal_url: str = setting(
        origin,
        "",
        "Address of this portal, such as https://ife.example.org, that links in mails begin with. "
        "Needed with EMAIL_URL unless DEBUG. If not given: http://localhost:8000.",
    )
    email_from: str = setting(str, "ifeportal@localhost", "Whom mail of the portal comes from.")
    second_factor_for: tuple[str, ...] = setting(
        parse_second_factor_groups,
        (),
        "Who must sign in with a second factor: some of staff,manager,operator,viewer. If not given: nobody must.",
    )
    oidc_issuer: str = setting(
        parse_issuer, "", "Single sign-on: the OpenID Connect issuer. If not given: passwords and passkeys only."
    )
    oidc_client_id: str = setting(str, "", "Single sign-on: what the issuer calls this portal.")
    oidc_client_secret: str = setting(str, "", "Single sign-on: the secret that goes with it.")
    oidc_name: str = setting(str, "single sign-on", "Single sign-on: what people call it, on the button.")
    oidc_creates_users: bool = setting(
        parse_flag, False, "Single sign-on: makes a user of no airline for a verified e-mail address that nobody has."
    )
    media_bucket: str = setting(parse_bucket_name, "ife-media", "What should fly; also called staging.")
    status_bucket: str = setting(parse_bucket_name, "ife-status", "What has arrived.")
    aws_access_key_id: str = setting(str, "", "S3 credentials, as AWS names them; any source boto3 knows will do.")
    aws_secret_access_key: str = setting(str, "", "S3 credentials, second half.")
    aws_region: str = setting(str, "", "S3 region. If not given: us-east-1.")
    aws_endpoint_url_s3: str = setting(url_parser("http", "https"), "", "The S3 service. If not given: AWS's own.")
    poll_interval: float = setting(
        parse_seconds, 2.0, "How often an airline's prefixes are listed while something moves or somebody looks."
    )
    poll_ceiling: float = setting(
        parse_seconds, 60.0, "How seldom at most, while nothing does; never below POLL_INTERVAL."
    )
    archive_after: int | None = setting(
        parse_count,
        None,
        "Days after which a finished load is packed into one object. If not given: never, unless its airline says so.",
    )
    signing_keys: tuple[str, ...] = setting(
        parse_names,
        (),
        "Private keys (PEM files of mode 0600, separated by commas) that sign what the admin publishes.",
    )
    signing_passphrase: str = setting(str, "", "Of those SIGNING_KEYS that are encrypted.")
    ready_within: float | None = setting(
        parse_seconds,
        None,
        "/readyz: how old the last good poll may be. If not given: 3 POLL_CEILING or 10 POLL_INTERVAL, the longer.",
    )
    status_events_queue_url: str = setting(
        url_parser("http", "https"),
        "",
        "SQS queue that hears of each change in STATUS_BUCKET. If not given: only polls.",
    )
    metrics_token: str = setting(str, "", "/metrics: the bearer token of the scraper. Staff may read it anyway.")
    live_sockets_per_user: int = setting(parse_count, 20, "Open pages one user may have in one web process.")
    static_root: str = setting(str, "staticfiles", "Where collectstatic puts what the pages load.")
    log_level: str = setting(str, "INFO", "DEBUG, INFO, WARNING or ERROR.")
    log_json: bool | None = setting(parse_flag, None, "One JSON object a line. If not given: on, unless DEBUG.")


def read_config(environment: Mapping[str, str]) -> Config:
    """Read every setting. Raises ConfigError with a sentence for each that is wrong."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for entry in fields(Config):
        name = entry.name.upper()
        try:
            given = _read_value(environment, name)
            if given:
                values[entry.name] = entry.metadata["parse"](given)
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
    """The text of a setting, from NAME or from the file that NAME_FILE names; "" if there is neither."""
    path = environment.get(f"{name}_FILE")
    if path and not environment.get(name):
        return Path(path).read_text(encoding="utf-8").strip()
    return environment.get(name, "").strip()


def _looks_like_production(values: Mapping[str, Any]) -> bool:
    server = values.get("database_url", {}).get("ENGINE") == "django.db.backends.postgresql"
    return server or "secret_key" in values or "allowed_hosts" in values


def _conflicts(config: Config) -> list[str]:
    found = [] if config.debug else _secret_key_problems(config.secret_key)
    if config.media_bucket == config.status_bucket:
        found.append("MEDIA_BUCKET and STATUS_BUCKET must be two buckets.")
    if bool(config.aws_access_key_id) != bool(config.aws_secret_access_key):
        found.append("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together: set both or neither.")
    if "*" in config.allowed_hosts and not config.debug:
        found.append("ALLOWED_HOSTS must name the hosts: * would let every site open live updates.")
    if config.email_url and not config.portal_url and not config.debug:
        found.append("PORTAL_URL is missing: with EMAIL_URL it must say where links in mails lead.")
    if len({bool(value) for value in (config.oidc_issuer, config.oidc_client_id, config.oidc_client_secret)}) > 1:
        found.append("OIDC_ISSUER, OIDC_CLIENT_ID and OIDC_CLIENT_SECRET go together: set all three or none.")
    if config.log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        found.append("LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR.")
    return found


def _secret_key_problems(key: str) -> list[str]:
    how = "Make one: python -c 'import secrets; print(secrets.token_urlsafe(50))'."
    if not key:
        return [f"SECRET_KEY is missing. {how} (For development set DEBUG=1 instead.)"]
    if any(word in key.lower() for word in PLACEHOLDER_WORDS):
        return [f"SECRET_KEY is a placeholder. {how}"]
    if len(key) < KEY_LENGTH or len(set(key)) < 10:
        return [f"SECRET_KEY is too easy: it needs {KEY_LENGTH} random characters. {how}"]
    return []
