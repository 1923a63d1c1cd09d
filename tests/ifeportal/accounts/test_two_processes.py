"""Two web processes, each a real daphne, share the counts of guesses while Redis is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ifeportal.accounts.limits.throttles import SIGN_INS
from ifeportal.conf.authentication import FAILURE_LIMIT
from ifeportal.embedded.processes import free_port
from tests.conftest import PASSWORD, Cast
from tests.ifeportal.web.test_root_path import post
from tests.support.web_server import WebServer

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def processes(transactional_db: None, tmp_path: Path) -> Iterator[list[WebServer]]:
    away = f"redis://127.0.0.1:{free_port()}/0"
    folders = [tmp_path / name for name in ("first", "second")]
    with ExitStack() as stack:
        servers = []
        for folder in folders:
            folder.mkdir()
            servers.append(stack.enter_context(WebServer(folder, REDIS_URL=away)))
        yield servers


def test_guesses_at_two_processes_are_counted_together_while_redis_is_away(
    processes: list[WebServer], cast: Cast
) -> None:
    def sign_in(number: int, name: str, password: str) -> int:
        return post(processes[number % 2], "/login/", {"login": name, "password": password}, {}).status

    wrong = [sign_in(number, "alice", f"{number}") for number in range(FAILURE_LIMIT)]
    assert wrong == [200] * (FAILURE_LIMIT - 1) + [429]
    assert [sign_in(number, "alice", PASSWORD) for number in range(2)] == [429, 429]
    left = SIGN_INS.count - FAILURE_LIMIT - 2
    others = [sign_in(number, f"nobody-{number}", "wrong") for number in range(left + 2)]
    assert others == [200] * left + [429, 429]
