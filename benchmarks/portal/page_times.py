"""Asks the portal's own views for pages, in a process that has Django, and says how long each answer took.

`python -m benchmarks.portal` starts it. Reads a JSON object a line: `user`, `paths` and how many `times` each
is asked for; or `query` and `times`; or `session`, a user to sign in; or `published`, an airline with a state for the
feed; or `moved`, an airline and which of its loads change; answers with one. A page is answered as daphne would have it
answered, but without a network: what is measured is the server's own time.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.http import HttpResponseBase
from django.test import Client
from django.utils import timezone

from benchmarks.scaling.measuring import Counting
from fleet.choices import Status
from fleet.models import Load
from fleet.serialization import serialize_load
from ifeportal.live.feed import FeedChange, current_rev, publish
from ifeportal.models import Airline, User
from loader.contract.units import MIB


def pages(user: str, paths: Sequence[str], times: int) -> dict[str, object]:
    """Ask for the paths in turn.

    For all together: seconds, seconds of CPU for each (its own and PostgreSQL's), statements and bytes in gzip at most.
    """
    client = Client(HTTP_HOST=settings.ALLOWED_HOSTS[0])
    client.force_login(User.objects.get(username=user))
    seconds: list[float] = []
    statements, compressed, clock = 0, 0, Counting()
    before = clock.read()
    for turn in range(times + 1):
        if turn == 1:
            before = clock.read()
        for path in paths:
            counting = Counting()
            with connection.execute_wrapper(counting):
                began = time.perf_counter()
                answer = client.get(path, secure=True, headers={"Accept-Encoding": "gzip"})
                body = answer.content
                took = time.perf_counter() - began
            if answer.status_code != 200:
                raise SystemExit(f"{path} answered {answer.status_code}")
            if turn:  # the first round fills caches that a running portal has filled
                seconds.append(took)
            statements = max(statements, counting.statements)
            if not turn:
                compressed = max(compressed, _compressed(answer, body))
    spent = clock.read() - before
    cpu = (spent.cpu + spent.database) / len(seconds)
    return {"seconds": seconds, "cpu": cpu, "statements": statements, "bytes": compressed}


def _compressed(answer: HttpResponseBase, body: bytes) -> int:
    """How many bytes the answer has in gzip, whoever makes that of it."""
    return len(body) if answer.get("Content-Encoding") == "gzip" else len(gzip.compress(body, 6))


def bare(query: str, times: int) -> dict[str, object]:
    """The same rows by one statement, written as JSON: the least that any page of them could take."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute(query)
            json.dumps(cursor.fetchall(), default=str)
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds}


def sign_in(session: str) -> dict[str, object]:
    """The cookie of a new session of this user."""
    client = Client()
    client.force_login(User.objects.get(username=session))
    return {"cookie": f"{settings.SESSION_COOKIE_NAME}={client.session.session_key}", "rev": current_rev()}


def publish_one(published: Sequence[Any]) -> dict[str, object]:
    """Commit one change of a load to the feed."""
    airline, state = published
    with transaction.atomic():
        change = FeedChange("load", state["id"], airlines()[airline], state["tail"], state=state)
        return {"rev": publish([change])}


def move(moved: Sequence[Any]) -> dict[str, object]:
    """Let the next so many loads of an airline have a mebibyte more or less, and commit that to the feed at once."""
    airline, count, start = moved
    loads = Load.objects.filter(tail__airline=airlines()[airline]).select_related("tail__airline", "campaign")
    rows = list(loads.order_by("pk")[start : start + count])
    for row in rows:
        row.bytes_done += MIB if row.bytes_done < MIB or start % (2 * count) else -MIB
        row.status, row.as_of = Status.LOADING, timezone.now()
    changes = [
        FeedChange("load", row.pk, row.tail.airline_id, row.tail.name, row.campaign.name, serialize_load(row))
        for row in rows
    ]
    with transaction.atomic():
        return {"rev": publish(changes)}


@cache
def airlines() -> dict[str, int]:
    """The id of each airline."""
    return dict(Airline.objects.values_list("name", "pk"))


DOINGS: Final[dict[str, Callable[..., dict[str, object]]]] = {
    "query": bare,
    "paths": pages,
    "session": sign_in,
    "published": publish_one,
    "moved": move,
}


def main() -> None:
    """Do what each line of the input asks for."""
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        answer = next(do for name, do in DOINGS.items() if name in asked)(**asked)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
