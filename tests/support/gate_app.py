"""An app with its own live topics, for tests: gates of an airline, and personal tickets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.apps import AppConfig

from ifeportal.live import registry
from ifeportal.live.registry import Topic, register
from ifeportal.models import Membership


class GateConfig(AppConfig):
    """Uses memberships as gates, so that it needs no table."""

    name = "tests.support.gate_app"

    def ready(self) -> None:
        register(Topic("gate", Membership), Topic("ticket", scoped_by=frozenset()))


@contextmanager
def gate_app() -> Iterator[None]:
    """Install the app until the end of the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_topics", dict(registry.registered_topics()))
        GateConfig(GateConfig.name, sys.modules[__name__]).ready()
        yield
