"""Route of the live socket, and the checks in front of it: Origin first, then the session cookie."""

from channels.routing import URLRouter
from channels.security.websocket import WebsocketDenier
from channels.sessions import CookieMiddleware
from django.urls import path, re_path

from ifeportal.live.sockets.consumer import LiveConsumer
from ifeportal.live.sockets.origin import OriginCheck

addresses = [
    path("ws/live/", LiveConsumer.as_asgi()),
    re_path("", WebsocketDenier.as_asgi()),  # an unknown address is refused; without this it would be an error
]
sockets = OriginCheck(CookieMiddleware(URLRouter(addresses)))
