"""Fixtures of all tests: the cast (who signs in) with their airlines, and buckets, real and in memory."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django.conf import settings as portal_settings
from django.contrib.auth.hashers import make_password
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.test import override_settings
from hypothesis import HealthCheck, settings
from pytest_django import DjangoDbBlocker

from ifeportal.access import Role
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.models import Airline, Membership, User
from loader.s3.client import S3Bucket
from loader.s3.memory import MemoryBucket
from tests.support import profiles, slow_tests
from tests.support.bucket_pool import FreshBuckets
from tests.support.database_flush import quick_flush
from tests.support.fork_server import ForkServer
from tests.support.migrated_database import migrated_once

PASSWORD = "correct horse battery staple"

# What is collected lives as long as the run, and to look for garbage in it takes a tenth of the collection.
gc.disable()
# No query fails because the machine is busy: `ifeportal.asgi`, which many tests import, applies this limit.
portal_settings.STATEMENT_TIMEOUT = 86_400.0
# No example fails because the machine is busy.
for name, examples in profiles.HYPOTHESIS_EXAMPLES.items():
    settings.register_profile(
        name, settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=examples)
    )
settings.load_profile(profiles.PROFILE)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow_tests.check_reasons(items)
    slow_tests.put_slow_modules_first(items)
    if profiles.PROFILE != profiles.THOROUGH:
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """Exclude what exists now from garbage collection: it lives as long as the run, and scanning it costs a sixth."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    slow_tests.report_unexplained(terminalreporter)


@dataclass(frozen=True)
class Cast:
    """Alice, Otto and Mona belong to ACME: viewer, operator, manager; Bob and Bruno to BETA: viewer, manager.

    Olga of operations is staff, Ada a superuser, Nick belongs nowhere.
    """

    alice: User
    otto: User
    mona: User
    bob: User
    bruno: User
    olga: User
    ada: User
    nick: User
    acme: Airline
    beta: Airline


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Put SQLite in a file, as in production: in memory, threads get "table is locked" without waiting.

    On PostgreSQL, only one of several workers runs the migrations.
    """
    for database in connections.settings.values():
        if database["ENGINE"] == "django.db.backends.sqlite3":
            database["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
            database["OPTIONS"]["timeout"] = 300  # seconds; waiting on a busy machine fails no test
    if connection.vendor != "postgresql" or "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with migrated_once(tmp_path_factory.getbasetemp().parent, connections[DEFAULT_DB_ALIAS]) as migrated:
        yield
        with django_db_blocker.unblock():
            migrated.drop()


@pytest.fixture(scope="session", autouse=True)
def quick_flushes() -> Iterator[None]:
    with quick_flush():
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """Use a fast hasher: hashing five passwords as in production would add a second to each test with the cast."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture
def cast(db: None) -> Cast:
    return create_cast()


def create_cast() -> Cast:
    # In three statements, because half of all tests need it.
    acme, beta = Airline.objects.bulk_create([Airline(name="ACME"), Airline(name="BETA")])
    key = make_password(PASSWORD)
    names = ("alice", "otto", "mona", "bob", "bruno", "olga", "ada", "nick")
    users = {
        user.username: user
        for user in User.objects.bulk_create(
            User(username=name, password=key, is_staff=name in ("olga", "ada"), is_superuser=name == "ada")
            for name in names
        )
    }
    Membership.objects.bulk_create(
        Membership(user=users[name], airline=airline, role=role)
        for name, airline, role in (
            ("alice", acme, Role.VIEWER),
            ("otto", acme, Role.OPERATOR),
            ("mona", acme, Role.MANAGER),
            ("bob", beta, Role.VIEWER),
            ("bruno", beta, Role.MANAGER),
        )
    )
    return Cast(**users, acme=acme, beta=beta)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """Start a real S3: one SeaweedFS per worker, on first use."""
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Start the fork server. Each loader gets its whole configuration with the request to start."""
    with ForkServer() as fork_server:
        yield fork_server


@pytest.fixture(scope="session")
def fresh_buckets(seaweed: SeaweedFS) -> Iterator[FreshBuckets]:
    with FreshBuckets(seaweed) as buckets:
        yield buckets


@pytest.fixture
def media(fresh_buckets: FreshBuckets) -> S3Bucket:
    """Return an empty media bucket for each test; `media.name` and `seaweed` are what programs need to reach it."""
    return fresh_buckets.take()


@pytest.fixture
def status(fresh_buckets: FreshBuckets) -> S3Bucket:
    """Return an empty status bucket for each test."""
    return fresh_buckets.take()


@pytest.fixture
def memory_media() -> MemoryBucket:
    return MemoryBucket("memory-media")


@pytest.fixture
def memory_status() -> MemoryBucket:
    return MemoryBucket("memory-status")
