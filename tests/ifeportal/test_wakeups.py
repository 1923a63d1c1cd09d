"""A commit wakes the threads that wait for it; without wake-ups they look again after a short time."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from ifeportal.wakeups import JOBS, wait, wake

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
PATIENCE = 60.0  # seconds, reached only if nothing wakes


def test_a_wait_ends_with_a_commit_or_with_its_time() -> None:
    wait(JOBS, 0.01)
    if connection.vendor != "postgresql":
        return
    woken = threading.Event()

    def listen() -> None:
        wait(JOBS, 2 * PATIENCE)
        connection.close()
        woken.set()

    listener = threading.Thread(target=listen)
    listener.start()
    while not woken.wait(0.01):  # until the thread listens, wake-ups are lost
        with transaction.atomic():
            wake(JOBS)
    listener.join()
    with transaction.atomic():
        wake(JOBS)
    wait(JOBS, 2 * PATIENCE)
