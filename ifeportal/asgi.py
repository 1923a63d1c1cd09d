"""ASGI application for daphne: pages and API over HTTP, live updates over WebSockets."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from django.db import connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ifeportal.settings")
pages = get_asgi_application()  # before the imports below: it loads the apps whose models they need

from ifeportal.api.changes_stream import ChangesStream  # noqa: E402
from ifeportal.api.operations.stream import OperationStream  # noqa: E402
from ifeportal.live.sockets.routing import sockets  # noqa: E402
from ifeportal.web.asgi_middleware import BodyLimit, IgnoreRootPath  # noqa: E402
from ifeportal.web.database_limits import CancelAbandonedQueries, limit_statements  # noqa: E402
from ifeportal.web.database_timeout import DatabaseTimeout  # noqa: E402
from ifeportal.web.server.access_log import install_access_log  # noqa: E402
from ifeportal.web.server.daphne_server import install_server  # noqa: E402
from ifeportal.web.user_limits import UserLimits  # noqa: E402

# SQLite is a local file and cannot hang like a network connection.
queries = CancelAbandonedQueries(pages)
http = UserLimits(queries if connection.vendor == "sqlite" else DatabaseTimeout(queries))
waiting = ChangesStream(OperationStream(http))
application = IgnoreRootPath(ProtocolTypeRouter({"http": BodyLimit(waiting), "websocket": sockets}))
limit_statements()
install_server()
install_access_log()
