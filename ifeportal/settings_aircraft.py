"""Django settings on an aircraft: the loader's commands, no database, so that a start takes well under a second."""

INSTALLED_APPS = ["loader"]
DATABASES: dict[str, dict[str, str]] = {}
USE_TZ = True
TIME_ZONE = "UTC"
LOGGING_CONFIG = None
SECRET_KEY = "unused: nothing aboard signs anything"  # noqa: S105
