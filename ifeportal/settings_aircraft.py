"""Django settings on the aircraft: only the loader's commands and no database, for a start in under a second."""

INSTALLED_APPS = ["loader"]
DATABASES: dict[str, dict[str, str]] = {}
USE_TZ = True
TIME_ZONE = "UTC"
LOGGING_CONFIG = None
SECRET_KEY = "unused: nothing on the aircraft signs anything"  # noqa: S105
