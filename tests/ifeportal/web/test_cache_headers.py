"""No answer that depends on the user may be stored by a cache, unless it says for how long."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from tests.ifeportal.access.test_every_address import ADMIN, ORDINARY, RULES, World, admin_address, shared_world, world

__all__ = ["shared_world", "world"]  # the fixtures


@pytest.mark.parametrize("user", ["anonymous", "ada"])
def test_every_response_has_a_cache_header(world: World, user: str) -> None:
    addresses = [reverse(name, args=RULES[name].arguments(world.acme)) for name in ORDINARY if name != "account_logout"]
    addresses += ["/no/such/page/", "/api/v1/no/such/list/", "/api/schema/?format=json", "/admin/", "/admin/login/"]
    silent = []
    for address in addresses:
        cache.clear()  # throttle counts
        cache_control = world.client(user).get(address).headers.get("Cache-Control", "")
        if "private" not in cache_control and "no-store" not in cache_control:
            silent.append((address, cache_control))
    assert not silent


def test_every_admin_page_has_a_cache_header(world: World) -> None:
    client = world.client("ada")
    silent = [
        address
        for name in ADMIN
        for address in [admin_address(name, world)]
        if "private" not in client.get(address).headers.get("Cache-Control", "")
    ]
    assert not silent


def test_a_request_that_is_refused_early_is_not_cached_either(db: None) -> None:
    client = Client(raise_request_exception=False)
    for path in ("/a%00b/", "/%ff/"):
        assert "no-store" in client.get(path).headers["Cache-Control"]
