"""Django settings of the portal, built from the environment by `ifeportal.conf.environment`, which documents each."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from csp.constants import NONE, SELF

from ifeportal.conf.authentication import signin_settings
from ifeportal.conf.environment import MAIL_TO_LOG, load_config, upload_origin
from ifeportal.conf.logging import install_exception_hooks, logging_settings
from ifeportal.jobs.kinds import AirlineJob
from loader.errors import ExitCode
from loader.s3.auth.redaction import passwords_in, redact, secrets_in

BASE_DIR = Path(__file__).resolve().parent.parent
try:
    config = load_config(os.environ)
    store_origin = upload_origin(config)
except ValueError as error:
    sys.stderr.write(f"Not started: the settings are invalid.\n{error}\n")
    sys.exit(ExitCode.USAGE)

DEBUG = config.debug
SECRET_KEY = config.secret_key
SECRET_KEY_FALLBACKS = list(config.secret_key_fallbacks)
ALLOWED_HOSTS = list(config.allowed_hosts)
CSRF_TRUSTED_ORIGINS = list(config.csrf_trusted_origins)

MEDIA_BUCKET = config.media_bucket
MEDIA_PUBLIC_URL = config.media_public_url
STATUS_BUCKET = config.status_bucket
POLL_INTERVAL = config.poll_interval
POLL_CEILING = max(config.poll_ceiling, config.poll_interval)
READY_WITHIN = config.ready_within or max(3 * POLL_CEILING, 10 * POLL_INTERVAL)
STATUS_EVENTS_QUEUE_URL = config.status_events_queue_url
ARCHIVE_AFTER = config.archive_after
UPLOAD_MAX_SIZE = config.upload_max_size
UPLOAD_QUOTA = config.upload_quota
UPLOAD_MAX_FILES = config.upload_max_files
LIBRARY_QUOTA = config.library_quota
UPLOAD_EXPIRES = config.upload_expires
UPLOAD_ORPHAN_AGE = config.upload_orphan_age
SIGNING_KEYS = config.signing_keys
SIGNING_PASSPHRASE = config.signing_passphrase
OUTBOUND_ALLOW_PRIVATE = config.outbound_allow_private
METRICS_TOKEN = config.metrics_token
BEHIND_PROXY = config.behind_proxy
PROXY_HOPS = config.proxy_hops
LIVE_SOCKETS_PER_USER = config.live_sockets_per_user
CONNECTIONS_PER_ADDRESS = config.connections_per_address
STATEMENT_TIMEOUT = config.statement_timeout

INSTALLED_APPS = [
    "daphne",
    "ifeportal.apps.PortalAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "axes",
    "channels",
    "csp",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework",
    "knox",
    "loader",
    "ifeportal",
    "ifeportal.accounts",
    "ifeportal.live",
    "ifeportal.exports",
    "ifeportal.operations",
    "campaigns",
    "campaigns.library",
    "campaigns.uploads",
    "fleet",
    "django_q",  # last: the `qcluster` command of `ifeportal` takes precedence
]
AUTH_USER_MODEL = "ifeportal.User"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "ifeportal.web.middleware.DefaultCacheControl",
    "ifeportal.web.middleware.RejectInvalidValues",
    "ifeportal.web.middleware.PasswordsLimited",
    "ifeportal.web.middleware.QueriesLimited",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "ifeportal.web.middleware.CommonExceptHealth",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "ifeportal.web.middleware.SignInRequired",
    "django.contrib.messages.middleware.MessageMiddleware",
    "ifeportal.web.middleware.SecondFactorRequired",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "ifeportal.web.middleware.PermissionsPolicy",
    "allauth.account.middleware.AccountMiddleware",
    "axes.middleware.AxesMiddleware",  # last: it replaces the response of the sign-in page
]
ROOT_URLCONF = "ifeportal.urls"
ASGI_APPLICATION = "ifeportal.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / config.static_root
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "ifeportal.web.staticfiles.HashedStaticFiles"
    },
}

WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = DEBUG

DATABASES = {"default": dict(config.database_url or {"ENGINE": "django.db.backends.sqlite3", "NAME": ""})}
if not DATABASES["default"]["NAME"]:
    (BASE_DIR / "var").mkdir(exist_ok=True)
    DATABASES["default"]["NAME"] = str(BASE_DIR / "var" / "ifeportal.sqlite3")
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Without these three options, most concurrent writers fail with "database is locked".
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
    }
else:
    # The timeouts detect a lost database within seconds. Under ASGI every request has its own thread, and a persistent
    # connection of a thread would never be reused: connections are closed, unless the URL sets conn_max_age.
    DATABASES["default"] = {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True, **DATABASES["default"]}
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 3,
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
        **DATABASES["default"].get("OPTIONS", {}),
    }
CACHES = {
    "default": {
        "BACKEND": "ifeportal.web.cache.FaultTolerantRedisCache",
        "LOCATION": config.redis_url,
        "OPTIONS": {"socket_connect_timeout": 0.5, "socket_timeout": 0.5},  # seconds
    }
    if config.redis_url
    else {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        # With Django's default of 300, a client with many requests could evict the counts of its attempts.
        "OPTIONS": {"MAX_ENTRIES": 50_000},
    }
}
PORTAL_URL = config.portal_url or "http://localhost:8000"  # never the Host header of a request
DEFAULT_FROM_EMAIL = SERVER_EMAIL = config.email_from
EMAIL_TIMEOUT = 20  # seconds for each step of sending an e-mail; a job sends them
# In production no mail may reach the log: it may contain a link that resets a password.
EMAIL_BACKEND = MAIL_TO_LOG if DEBUG else "django.core.mail.backends.dummy.EmailBackend"
PASSWORD_RESET_BY_EMAIL = DEBUG or config.email_url is not None
globals().update(config.email_url or {})

HTTPS = config.https if config.https is not None else not DEBUG
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]  # requested from inside, behind the TLS proxy
SECURE_HSTS_SECONDS = 365 * 86400 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SILENCED_SYSTEM_CHECKS = ["security.W021"]  # the owner of the domain decides on HSTS preload
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if config.behind_proxy else None
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_AGE = 8 * 3600
SECOND_FACTOR_FOR = config.second_factor_for
OIDC_ISSUER = config.oidc_issuer
OIDC_CREATES_USERS = config.oidc_creates_users
globals().update(signin_settings(config, https=HTTPS))
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "base-uri": [NONE],
        "connect-src": [SELF, store_origin],  # parts of uploads go directly to the store
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576
BODY_LIMIT = 2 * DATA_UPLOAD_MAX_MEMORY_SIZE  # bytes of a request body: the largest form with the largest logo
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000  # an admin page with every row selected
DATA_UPLOAD_MAX_NUMBER_FILES = 10
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

redact.keep(
    config.secret_key,
    *config.secret_key_fallbacks,
    *secrets_in(os.environ),
    config.metrics_token,
    config.signing_passphrase,
    config.oidc_client_secret,
    str(DATABASES["default"].get("PASSWORD") or ""),
    str((config.email_url or {}).get("EMAIL_HOST_PASSWORD") or ""),
    *passwords_in(config.redis_url),
)
LOGGING = logging_settings(
    level=config.log_level.upper(), as_json=config.log_json if config.log_json is not None else not DEBUG
)
install_exception_hooks()

WORKERS = config.workers + bool(STATUS_EVENTS_QUEUE_URL)  # one more, because one always waits for events
# django-q2 only wakes workers: `ifeportal/jobs/runner.py` selects due jobs, retries them and stores their results.
Q_CLUSTER = {
    "name": "ifeportal",
    "orm": "default",
    "broker_class": "ifeportal.jobs.broker.ResilientBroker",
    "workers": WORKERS,
    "queue_limit": WORKERS,  # no prefetching, so that a free worker takes the next call
    "poll": 0,  # seconds that django-q2 sleeps at an empty queue; our broker waits there itself
    "timeout": 300,  # seconds after which a worker is killed; below `retry`, or work runs twice at once
    "retry": 360,
    "max_attempts": 1,
    "ack_failures": True,
    "catch_up": False,
    "scheduler": False,  # it runs only every 30 s; the pacemaker replaces it
    "save_limit": -1,  # successes are not stored
}
FLEET_JOBS = ("discover", "thin_samples", "archive_loads", "prune_feed", "check_totals")
JOBS = {name: f"fleet.jobs.{name}" for name in FLEET_JOBS}
JOBS |= {name: f"ifeportal.accounts.jobs.{name}" for name in ("send_reset_links", "clear_sessions")}
JOBS["purge_operations"] = "ifeportal.operations.jobs.purge_operations"
JOBS["upload_cleanup"] = "campaigns.uploads.jobs.upload_cleanup"
JOBS["write_exports"] = "ifeportal.exports.jobs.write_exports"
if STATUS_EVENTS_QUEUE_URL:
    JOBS["take_events"] = "fleet.jobs.take_events"
JOBS_PER_AIRLINE = {"poll": AirlineJob("fleet.jobs.poll", urgent_when_viewed=True)}
OPERATION_SLICES = max(1, config.workers - 1)  # slices of operations in one qcluster at once; jobs have the rest
OPERATIONS_AT_ONCE = 16  # operations of all kinds that are admitted at once; workers do their slices in turn

KNOX_TOKEN_MODEL = "ifeportal.Token"  # noqa: S105  # the name of a model
REST_KNOX = {"TOKEN_PREFIX": "ife_"}
MIGRATION_MODULES = {"knox": None}  # no table for its token model, which ours replaces
REST_FRAMEWORK = {
    # Tokens first: REST framework derives the 401 (instead of a 403) from the first class.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "ifeportal.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["ifeportal.api.parsers.BoundedJSONParser"],
    "DEFAULT_THROTTLE_CLASSES": ["ifeportal.api.throttling.CallerRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"user": "1200/min"},
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "ifeportal.web.problems.exception_handler",
    "SEARCH_PARAM": "q",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "In-flight entertainment portal",
    "DESCRIPTION": "Content for aircraft and its loading progress. Sizes in bytes, rates in bytes/s, times in UTC.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "DEFAULT_GENERATOR_CLASS": "ifeportal.api.schema_generator.CachedSchemaGenerator",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "displayRequestDuration": True, "persistAuthorization": False},
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "Status": "fleet.choices.Status",
        "SumStatus": "fleet.api.serializers.SUM_STATUSES",
        "State": "fleet.choices.State",
        "SumState": "fleet.api.serializers.SUM_STATES",
        "OperationState": "ifeportal.operations.models.OperationState",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "ifeportal.api.schema.document_errors",
    ],
}
