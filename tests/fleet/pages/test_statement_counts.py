"""Pages take a small, fixed number of statements, whatever the number of airlines, tails and items."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.conftest import Cast
from tests.support.page_rows import create_fleet

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
LIMITS = {"/": 10, "/airlines/ACME/": 12, "/airlines/ACME/?size=1000": 12, "/airlines/ACME/campaigns/2026-12/": 14}


def count_statements(client: Client, path: str) -> int:
    client.get(path)  # what a process reads once
    with CaptureQueriesContext(connection) as queries:
        assert client.get(path).status_code == 200
    return len(queries)


@pytest.mark.parametrize("path", LIMITS)
def test_a_page_takes_the_same_few_statements_for_many_rows(cast: Cast, client: Client, path: str) -> None:
    client.force_login(cast.olga)
    create_fleet(cast.acme, tails=2, items=2)
    few = count_statements(client, path)
    create_fleet(cast.beta, tails=12, items=12)
    assert count_statements(client, path) == few <= LIMITS[path]
