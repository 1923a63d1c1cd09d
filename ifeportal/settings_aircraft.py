"""Django settings of the aircraft: only the loader's command, no database, so that it starts in well under a second."""

INSTALLED_APPS = ["loader"]
DATABASES: dict[str, dict[str, str]] = {}
USE_TZ = True
TIME_ZONE = "UTC"
LOGGING_CONFIG = None
SECRET_KEY = "unused: nothing aboard signs anything"  # noqa: S105
