"""Request pages from the portal's views, in a process with Django, and print how long each response took.

`python -m benchmarks.portal` starts it. Reads one JSON object per line and answers with one. The objects are: `user`,
`paths` and the number of `times` to request each; `query` and `times`; `session`, a user to sign in; `published`, an
airline and a state for the feed; `moved`, an airline and which of its loads change; `recounted`, to store the totals of
rows that were filled in by SQL. Pages are rendered as daphne would, but without a network, so the times are those of
the server alone.
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

from benchmarks.scaling.measuring import StatementCounter
from fleet.choices import Status
from fleet.models import Load
from fleet.serialization import serialize_load
from fleet.stats.totals import recount
from ifeportal.live.feed import FeedChange, current_rev, publish
from ifeportal.models import Airline, User
from loader.contract.units import MIB


def time_pages(user: str, paths: Sequence[str], times: int) -> dict[str, object]:
    """Request the paths in turn.

    Return the seconds of each response, the average CPU seconds (of this process and PostgreSQL), and the maximum
    number of statements and of gzip bytes.
    """
    client = Client(HTTP_HOST=settings.ALLOWED_HOSTS[0])
    client.force_login(User.objects.get(username=user))
    seconds: list[float] = []
    statements, compressed, clock = 0, 0, StatementCounter()
    before = clock.read()
    for round_number in range(times + 1):
        if round_number == 1:
            before = clock.read()
        for path in paths:
            counting = StatementCounter()
            with connection.execute_wrapper(counting):
                started = time.perf_counter()
                response = client.get(path, secure=True, headers={"Accept-Encoding": "gzip"})
                body = response.content
                took = time.perf_counter() - started
            if response.status_code != 200:
                raise SystemExit(f"{path} answered {response.status_code}")
            if round_number:  # the first round fills caches that a running portal has filled
                seconds.append(took)
            statements = max(statements, counting.statements)
            if not round_number:
                compressed = max(compressed, _compressed(response, body))
    usage = clock.read() - before
    cpu = (usage.cpu + usage.database) / len(seconds)
    return {"seconds": seconds, "cpu": cpu, "statements": statements, "bytes": compressed}


def _compressed(response: HttpResponseBase, body: bytes) -> int:
    """Return the size of the response in gzip, whether or not it is compressed already."""
    return len(body) if response.get("Content-Encoding") == "gzip" else len(gzip.compress(body, 6))


def time_query(query: str, times: int) -> dict[str, object]:
    """Return the seconds for the same rows with one statement and JSON: the minimum for any page of them."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute(query)
            json.dumps(cursor.fetchall(), default=str)
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds}


def sign_in(session: str) -> dict[str, object]:
    """Return the cookie of a new session of this user."""
    client = Client()
    client.force_login(User.objects.get(username=session))
    return {"cookie": f"{settings.SESSION_COOKIE_NAME}={client.session.session_key}", "rev": current_rev()}


def publish_one(published: Sequence[Any]) -> dict[str, object]:
    """Commit one change of a load to the feed."""
    airline, state = published
    with transaction.atomic():
        change = FeedChange("load", state["id"], airlines()[airline], state["tail"], state=state)
        return {"rev": publish([change])}


def update_loads(moved: Sequence[Any]) -> dict[str, object]:
    """Change `bytes_done` of the next loads of an airline by 1 MiB and commit all changes to the feed at once."""
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


def recount_totals(recounted: bool) -> dict[str, object]:
    """Store the totals of the rows that SQL has filled in."""
    return {"corrected": sum(len(recount(pk)) for pk in airlines().values())} if recounted else {}


@cache
def airlines() -> dict[str, int]:
    """Return the id of each airline, by name."""
    return dict(Airline.objects.values_list("name", "pk"))


HANDLERS: Final[dict[str, Callable[..., dict[str, object]]]] = {
    "query": time_query,
    "paths": time_pages,
    "session": sign_in,
    "published": publish_one,
    "moved": update_loads,
    "recounted": recount_totals,
}


def main() -> None:
    """Handle each line of the input."""
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        response = next(handler for name, handler in HANDLERS.items() if name in request)(**request)
        print(json.dumps(response), flush=True)


if __name__ == "__main__":
    main()
