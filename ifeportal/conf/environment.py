"""Settings of the portal, read from the environment: typed, with defaults and error messages.

Takes a mapping and returns a Config. Reads only the files that NAME_FILE variables name (secrets). `settings.py` builds
Django's settings from it. No error contains the value of a variable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import environ

from loader.contract.units import format_duration, format_size, parse_duration, parse_size
from loader.s3.auth.environment import bundle_fault, clean_variables, misnamed_variables
from loader.s3.auth.values import (
    check_access_key,
    check_region,
    check_secret,
    clean_setting,
    clean_text,
    control_character_fault,
    is_quoted,
    read_text_file,
)
from loader.s3.bucket_names import check_bucket_name
from loader.s3.http.proxies import proxy_for
from loader.s3.http.urls import check_endpoint, check_virtual_hosts, endpoint_for, origin_of, parse_addressing_style
from loader.s3.location import find_location

T = TypeVar("T")

KEY_LENGTH = 50
PLACEHOLDER_WORDS = ("changeme", "change-me", "change_me", "placeholder", "insecure", "development", "secret-key")
METRICS_TOKEN_LENGTH = 20
HOST_NAME = r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?"
ALLOWED_HOST = re.compile(rf"\*|\.?{HOST_NAME}|\[[0-9a-f:.]+\]", re.I)
TRUSTED_ORIGIN = re.compile(rf"https?://(?:(?:\*\.)?{HOST_NAME}|\[[0-9a-f:.]+\])(?::[0-9]{{1,5}})?", re.I)
SMTP = "django.core.mail.backends.smtp.EmailBackend"
MAIL_TO_LOG = "django.core.mail.backends.console.EmailBackend"
PASSWORD_HINT = "percent-encode special characters in the password"  # noqa: S105  a sentence
MAIL_FORM = f"must be a URL such as smtp+tls://user:password@host:587 or consolemail://; {PASSWORD_HINT}"
ORIGIN = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
LARGEST_OBJECT = 5 * 2**40  # bytes; of S3
LARGEST_QUOTA = 10**18  # bytes
DURATION_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SECOND_FACTOR_GROUPS = ("staff", "manager", "operator", "viewer")
DEVELOPMENT_KEY = "development-only-never-used-with-debug-off-0123456789"


class ConfigError(ValueError):
    """Invalid settings; `str()` has one sentence per line."""


def setting(parse: Callable[[str], T], default: T, meaning: str, *, secret: bool = False) -> T:
    """Declare a setting: parser of its text, default, and documentation. `secret`: quotation marks may belong to it."""
    value: T = field(default=default, metadata={"parse": parse, "meaning": meaning, "secret": secret})
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


def duration_parser(least: float, most: float) -> Callable[[str], float]:
    """Return a parser of durations such as `10 seconds`, `1h30m` or `7 days` into seconds, within these limits."""
    form = f"must be a duration from {format_duration(least)} to {format_duration(most)}, such as 48 hours or 7 days"

    def parse(value: str) -> float:
        try:
            seconds = parse_duration(value[:100])
        except ValueError:
            raise ValueError(form) from None
        if not least <= seconds <= most:
            raise ValueError(form)
        return seconds

    return parse


def size_parser(most: int) -> Callable[[str], int]:
    """Return a parser of sizes such as `40 GB` or `512 MiB` into bytes, above zero and within the limit."""
    form = f"must be a size above zero and at most {format_size(most)}, such as 40 GB or 512 MiB"

    def parse(value: str) -> int:
        try:
            size = parse_size(value)
        except ValueError:
            raise ValueError(form) from None
        if not 0 < size <= most:
            raise ValueError(form)
        return size

    return parse


def parse_count(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) or not int(value):
        raise ValueError("must be a whole number above zero")
    return int(value)


def parse_names(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


def parse_hosts(value: str) -> tuple[str, ...]:
    """Parse host names separated by commas, as Django's ALLOWED_HOSTS: without scheme, port and path."""
    hosts = parse_names(value)
    if not all(ALLOWED_HOST.fullmatch(host) for host in hosts):
        raise ValueError("must be host names such as ife.example.org, separated by commas, without scheme and port")
    return hosts


def parse_origins(value: str) -> tuple[str, ...]:
    """Parse origins separated by commas, each with its scheme. Removes one trailing slash of each."""
    origins = tuple(origin.removesuffix("/") for origin in parse_names(value))
    if not all(TRUSTED_ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError("must be origins such as https://ife.example.org, separated by commas")
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


def parse_style(value: str) -> str:
    """Parse `auto`, `path` or `virtual`."""
    try:
        return parse_addressing_style(value)
    except ValueError as error:
        raise ValueError("must be auto, path or virtual") from error


def url_parser(*schemes: str) -> Callable[[str], str]:
    """Return a parser of URLs that have a host and one of the schemes."""
    form = f"must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}; {PASSWORD_HINT}"

    def parse(value: str) -> str:
        try:
            parts = urlsplit(value)
            valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:  # its text may contain a part of the password
            valid = False
        if not valid or not value.isascii() or " " in value:
            raise ValueError(form)
        return value

    return parse


def parse_endpoint(value: str) -> str:
    """Parse the URL of the S3 service."""
    try:
        check_endpoint(value)
    except ValueError as error:
        raise ValueError(f"must be a URL such as https://s3.example.net: it {error}") from None
    return value


def parse_metrics_token(value: str) -> str:
    if len(value) < METRICS_TOKEN_LENGTH or not (value.isascii() and value.isprintable()):
        raise ValueError(f"must have at least {METRICS_TOKEN_LENGTH} random characters, all of them ASCII")
    return value


def parse_issuer(value: str) -> str:
    """Parse the URL of an OpenID Connect issuer: https, or http on this machine for development."""
    try:
        parts = urlsplit(value)
    except ValueError:
        raise ValueError("must be a URL that starts with https://") from None
    if parts.scheme != "https" and (parts.scheme, parts.hostname) not in (("http", "localhost"), ("http", "127.0.0.1")):
        raise ValueError("must be a URL that starts with https://")
    if not parts.hostname or parts.query or parts.fragment or parts.username is not None or not value.isascii():
        raise ValueError("must be a URL such as https://login.example.org/realms/crew")
    return value.rstrip("/")


def parse_second_factor_groups(value: str) -> tuple[str, ...]:
    """Parse `staff` and roles, separated by commas, or `none`."""
    groups = () if value.strip() == "none" else parse_names(value)
    if set(groups) - set(SECOND_FACTOR_GROUPS):
        raise ValueError(f"must be none, or some of {', '.join(SECOND_FACTOR_GROUPS)}")
    return groups


def parse_database_url(value: str) -> dict[str, Any]:
    """Parse `postgres://user:password@host/name` or `sqlite:///path` into an entry of Django's DATABASES."""
    if not value.startswith(("postgres://", "postgresql://", "sqlite:///")):
        raise ValueError("must start with postgres:// or sqlite:///")
    try:
        parsed: dict[str, Any] = environ.Env.db_url_config(value)
    except (ValueError, KeyError, environ.ImproperlyConfigured):  # its text may contain a part of the password
        raise ValueError(f"must be a URL such as postgres://user:password@host/name; {PASSWORD_HINT}") from None
    if not parsed.get("NAME"):
        raise ValueError(f"must name a database after the last slash; {PASSWORD_HINT}")
    return parsed


def parse_email_url(value: str) -> dict[str, Any]:
    """Parse `smtp+tls://user:password@host:587` or `consolemail://` into Django's EMAIL_ settings."""
    try:
        parsed: dict[str, Any] = environ.Env.email_url_config(value)
    except (ValueError, KeyError, environ.ImproperlyConfigured):
        raise ValueError(MAIL_FORM) from None
    if parsed["EMAIL_BACKEND"] == SMTP and not parsed.get("EMAIL_HOST"):
        raise ValueError(MAIL_FORM)
    return parsed


@dataclass(frozen=True)
class Config:
    """All settings. The environment variable is the field's name in capitals.

    NAME_FILE may name a file that contains the value, for secrets.
    """

    debug: bool = setting(
        parse_flag,
        False,
        "Development mode. Default: on, unless one of these settings of production is set: SECRET_KEY, ALLOWED_HOSTS, "
        "a PostgreSQL DATABASE_URL, HTTPS=1, BEHIND_PROXY=1, SECOND_FACTOR_FOR, OIDC_ISSUER or a mail server.",
    )
    secret_key: str = setting(
        str,
        "",
        f"Signs cookies and links, encrypts second factors; at least {KEY_LENGTH} random characters. "
        "Required unless DEBUG.",
        secret=True,
    )
    secret_key_fallbacks: tuple[str, ...] = setting(
        parse_names,
        (),
        "Earlier values of SECRET_KEY, separated by commas. What they signed or encrypted can still be read.",
        secret=True,
    )
    allowed_hosts: tuple[str, ...] = setting(
        parse_hosts, ("localhost", "127.0.0.1", "[::1]"), "Host names of this portal."
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
        "The client's address is the entry at this position from the end.",
    )
    database_url: Mapping[str, Any] | None = setting(
        parse_database_url, None, "PostgreSQL or SQLite. Default: SQLite in var/ifeportal.sqlite3."
    )
    redis_url: str = setting(
        url_parser("redis", "rediss"),
        "",
        "Shares the counts of API throttles among all web processes. Optional.",
    )
    email_url: Mapping[str, Any] | None = setting(
        parse_email_url,
        None,
        "Mail server. Default: no e-mail is sent, and no password can be reset by e-mail. "
        "With DEBUG e-mails are printed.",
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
    oidc_client_secret: str = setting(str, "", "Single sign-on: client secret of this portal.", secret=True)
    oidc_name: str = setting(str, "single sign-on", "Single sign-on: name of the service on the sign-in button.")
    oidc_creates_users: bool = setting(
        parse_flag,
        False,
        "Single sign-on: create a user, without airlines, for a verified e-mail address that no user has.",
    )
    media_bucket: str = setting(check_bucket_name, "ife-media", "Bucket of the content to load, also called staging.")
    status_bucket: str = setting(check_bucket_name, "ife-status", "Bucket of the reports from aircraft.")
    aws_access_key_id: str = setting(
        check_access_key, "", "S3 credentials. Any other source of credentials that boto3 supports works too."
    )
    aws_secret_access_key: str = setting(check_secret, "", "S3 credentials: the secret of AWS_ACCESS_KEY_ID.")
    aws_region: str = setting(check_region, "", "S3 region. Default: that of the AWS profile, else us-east-1.")
    aws_endpoint_url_s3: str = setting(
        parse_endpoint, "", "URL of the S3 service. Default: that of the AWS profile, else AWS."
    )
    aws_s3_addressing_style: str = setting(
        parse_style,
        "auto",
        "Where requests name the bucket: path, virtual (in the host name), or auto: virtual on AWS, path elsewhere.",
    )
    media_public_url: str = setting(
        parse_endpoint,
        "",
        "URL of the S3 service for browsers and programs that upload, if theirs is another. Default: "
        "AWS_ENDPOINT_URL_S3.",
    )
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
    upload_max_size: int = setting(
        size_parser(LARGEST_OBJECT),
        LARGEST_OBJECT,
        "Largest file that can be uploaded, such as 40 GB. Default: 5 TiB, the largest object of S3.",
    )
    upload_quota: int = setting(
        size_parser(LARGEST_QUOTA),
        20 * 10**12,
        "Bytes of an airline that may be under way in unfinished uploads, such as 500 GB.",
    )
    upload_max_files: int = setting(
        parse_count, 10_000, "Number of files of an airline that may be under way in unfinished uploads."
    )
    library_quota: int | None = setting(
        size_parser(LARGEST_QUOTA),
        None,
        "Bytes of an airline in the library, with its uploads under way to it, such as 2 TB. Default: no limit.",
    )
    upload_expires: float = setting(
        duration_parser(10.0, 365 * 86_400.0),
        7 * 86_400.0,
        "Time without activity after which an upload is aborted, such as 7 days; at least 10 seconds.",
    )
    upload_orphan_age: float = setting(
        duration_parser(3_600.0, 365 * 86_400.0),
        48 * 3_600.0,
        "Age at which unknown unfinished uploads in the bucket are deleted, such as 48 hours.",
    )
    signing_keys: tuple[str, ...] = setting(
        parse_names,
        (),
        "Private keys that sign what the admin publishes: PEM files of mode 0600, separated by commas.",
    )
    signing_passphrase: str = setting(str, "", "Passphrase of the encrypted SIGNING_KEYS.", secret=True)
    outbound_allow_private: bool = setting(
        parse_flag,
        False,
        "Let requests to URLs that users name reach private addresses. Only for networks in which that is safe.",
    )
    ready_within: float | None = setting(
        parse_seconds,
        None,
        "/readyz: maximum age of the last successful poll. Default: the longer of 3 POLL_CEILING and 10 POLL_INTERVAL.",
    )
    status_events_queue_url: str = setting(
        url_parser("http", "https"),
        "",
        "SQS queue that receives an event for each change in STATUS_BUCKET. Default: polls only.",
    )
    workers: int = setting(
        parse_count,
        3,
        "Worker processes of one qcluster. All but one may do operations such as uploads at the same time. "
        "With STATUS_EVENTS_QUEUE_URL there is one more.",
    )
    metrics_token: str = setting(
        parse_metrics_token,
        "",
        f"/metrics: bearer token of the scraper, at least {METRICS_TOKEN_LENGTH} random characters. Staff need none.",
        secret=True,
    )
    live_sockets_per_user: int = setting(parse_count, 20, "Maximum number of live pages per user in one web process.")
    connections_per_address: int = setting(
        parse_count,
        100,
        "Maximum number of connections from one address (IPv6: one /64 network) to one web process. "
        "Not used with BEHIND_PROXY, where the proxy must limit them.",
    )
    statement_timeout: float = setting(
        parse_seconds,
        30.0,
        "Longest time of one query of a page or the API, with PostgreSQL. Jobs and commands have no limit.",
    )
    static_root: str = setting(str, "staticfiles", "Directory into which collectstatic copies static files.")
    log_level: str = setting(str, "INFO", "DEBUG, INFO, WARNING or ERROR.")
    log_json: bool | None = setting(parse_flag, None, "Log one JSON object per line. Default: on, unless DEBUG.")


def load_config(environment: MutableMapping[str, str]) -> Config:
    """Clean the variables that libraries read by themselves, then read all settings.

    Raises ConfigError with a sentence for each invalid one.
    """
    config, problems = Config(), []
    try:
        clean_variables(environment)
    except ValueError as error:
        problems += str(error).splitlines()
    try:
        config = read_config(environment)
    except ConfigError as error:
        problems += str(error).splitlines()
    problems += _library_problems(environment)
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return config


def _library_problems(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield faults of what single sign-on and the event queue read from the environment."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = environment.get(name)
        if path and not Path(path).is_dir() and (fault := bundle_fault(path)):
            yield f"{name} {fault}."
    for name in ("STATUS_EVENTS_QUEUE_URL", "OIDC_ISSUER"):
        try:
            proxy_for(clean_setting(environment.get(name, "")), environment)
        except ValueError as error:
            yield f"{error}."


def upload_origin(config: Config) -> str:
    """Return scheme, host and port that signed uploads are sent to. Reads AWS's variables and profile.

    Raises ValueError for an endpoint of the profile that cannot be used.
    """
    location = find_location()
    endpoint = config.media_public_url or location.endpoint
    return origin_of(endpoint_for(config.media_bucket, endpoint, location.region, location.style)[0])


def read_config(environment: Mapping[str, str]) -> Config:
    """Read all settings. Raises ConfigError with a sentence for each invalid one."""
    values: dict[str, Any] = {}
    settings = {entry.name.upper(): entry for entry in fields(Config)}
    problems = misnamed_variables(environment, settings.__contains__)
    for name, entry in settings.items():
        try:
            text = _read_value(environment, name, secret=entry.metadata["secret"])
            if text:
                values[entry.name] = entry.metadata["parse"](text)
        except UnusableFile as error:
            problems.append(f"{name}_FILE {error}.")
        except ValueError as error:
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


class UnusableFile(ValueError):
    """The file that NAME_FILE names cannot be used."""


def _read_value(environment: Mapping[str, str], name: str, *, secret: bool) -> str:
    """Return the text of a setting, from NAME or from the file that NAME_FILE names; "" without either."""
    text = clean_text(environment.get(name, ""))
    path = clean_setting(environment.get(f"{name}_FILE", ""))
    if path and not text:
        text = _read_file(path)
    elif secret and is_quoted(text):
        raise ValueError(f"is in quotation marks: remove them, or use {name}_FILE if they belong to it")
    text = text if secret else clean_setting(text)
    if fault := control_character_fault(text):
        raise ValueError(f"{fault}. Set it again without it")
    return text


def _read_file(path: str) -> str:
    try:
        return clean_text(read_text_file(path))
    except ValueError as error:
        raise UnusableFile(str(error)) from None


def _looks_like_production(values: Mapping[str, Any]) -> bool:
    """Whether a setting is given that development does not need."""
    server = values.get("database_url", {}).get("ENGINE") == "django.db.backends.postgresql"
    mail = values.get("email_url", {}).get("EMAIL_BACKEND") == SMTP
    names = ("https", "behind_proxy", "second_factor_for", "oidc_issuer", "oidc_client_id", "oidc_client_secret")
    return (
        server or mail or "secret_key" in values or "allowed_hosts" in values or any(values.get(name) for name in names)
    )


def _conflicts(config: Config) -> list[str]:
    problems = [] if config.debug else _production_problems(config)
    if config.media_bucket == config.status_bucket:
        problems.append("MEDIA_BUCKET and STATUS_BUCKET must be different buckets.")
    if bool(config.aws_access_key_id) != bool(config.aws_secret_access_key):
        problems.append("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together. Set both or neither.")
    if config.aws_s3_addressing_style == "virtual" and config.aws_endpoint_url_s3:
        try:
            check_virtual_hosts(urlsplit(config.aws_endpoint_url_s3).hostname or "", config.media_bucket)
        except ValueError as error:
            problems.append(f"AWS_S3_ADDRESSING_STYLE cannot be virtual: {error}.")
    if config.aws_s3_addressing_style == "virtual" and config.media_public_url:
        try:
            check_virtual_hosts(urlsplit(config.media_public_url).hostname or "", config.media_bucket)
        except ValueError as error:
            problems.append(f"MEDIA_PUBLIC_URL cannot be used with AWS_S3_ADDRESSING_STYLE=virtual: {error}.")
    if len({bool(value) for value in (config.oidc_issuer, config.oidc_client_id, config.oidc_client_secret)}) > 1:
        problems.append("OIDC_ISSUER, OIDC_CLIENT_ID and OIDC_CLIENT_SECRET belong together. Set all three or none.")
    if config.log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        problems.append("LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR.")
    return problems


def _production_problems(config: Config) -> list[str]:
    problems = _secret_key_problems(config.secret_key)
    if "*" in config.allowed_hosts:
        problems.append("ALLOWED_HOSTS must list the hosts: * would let any site open live updates.")
    if config.email_url and not config.portal_url:
        problems.append("PORTAL_URL is missing. EMAIL_URL requires it, for the links in e-mails.")
    if (config.email_url or {}).get("EMAIL_BACKEND") == MAIL_TO_LOG:
        problems.append(
            "EMAIL_URL must name a mail server: consolemail:// writes links that reset passwords to the log."
        )
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
