"""Route of the live socket, and the checks in front of it: Origin first, then the session cookie."""

from channels.routing import URLRouter
from channels.security.websocket import WebsocketDenier
from channels.sessions import CookieMiddleware
from django.urls import path, re_path

from ifeportal.live.sockets.consumer import LiveConsumer
from ifeportal.live.sockets.origin import OriginCheck

addresses = [
    path("ws/live/", LiveConsumer.as_asgi()),
    re_path("", WebsocketDenier.as_asgi()),  # refuses an unknown address, which would otherwise raise
]
sockets = OriginCheck(CookieMiddleware(URLRouter(addresses)))
