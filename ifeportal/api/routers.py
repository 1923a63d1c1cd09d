"""The router of the API: each app registers its endpoints on its own router, and the root lists all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet


class EndpointRouter(SimpleRouter):
    """DRF's router for lists of rows, extended by other views. An endpoint's name is its path below `/api/v1/`."""

    def __init__(self) -> None:
        super().__init__()
        self._views: dict[str, type[APIView]] = {}

    def register_list(self, name: str, viewset: type[GenericViewSet[Any]]) -> None:
        """Serve a list and its rows below `name/`."""
        self.register(name, viewset, basename=f"api-{name}")

    def register_view(self, name: str, view: type[APIView]) -> None:
        """Serve a view at `name/`."""
        self._views[name] = view

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Return the addresses of the views, then those of the lists."""
        views = [path(f"{name}/", view.as_view(), name=f"api-{name}") for name, view in self._views.items()]
        return [*views, *super().get_urls()]

    def list_names(self) -> list[str]:
        return [name for name, _, _ in self.registry]

    def view_names(self) -> list[str]:
        return list(self._views)


def url_names(routers: Sequence[EndpointRouter]) -> dict[str, str]:
    """Return {endpoint: name of its URL}: the lists of all routers, then the other views, each sorted by name."""
    lists = sorted(name for router in routers for name in router.list_names())
    views = sorted(name for router in routers for name in router.view_names())
    return {**{name: f"api-{name}-list" for name in lists}, **{name: f"api-{name}" for name in views}}
