"""What a benchmark of uploads does inside Django: it reads one JSON object per line and answers with one.

The objects are: `session`, an airline for a new user; `announced`, a file that is uploaded without a browser; `worked`,
an upload whose operation is done as a worker does it; `ended`, an upload to look up; `signed`, a number of parts to
sign one at a time; `waiting`, a number of operations to queue, which are admitted some `times`; `changed`, an operation
whose progress changes. Times are Unix seconds.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from campaigns.uploads.announcements.names import parse_file_name
from campaigns.uploads.models import Upload
from campaigns.uploads.requests import UploadRequest, create_upload, plan_of, record_complete
from campaigns.uploads.store import begin_at_store
from ifeportal.audit import Actor
from ifeportal.models import Airline, User
from ifeportal.operations.admission import queue
from ifeportal.operations.execution.runner import run_due_operations
from ifeportal.operations.feed import publish_operations
from ifeportal.operations.models import Operation, OperationState
from ifeportal.storage.buckets import media_bucket, media_bucket_for_requests

NAME: Final = "ops"
SAVEPOINTS: Final = ("SAVEPOINT", "RELEASE SAVEPOINT")
UPLOADS: Final = "/api/v1/uploads/"
IDLE: Final = 0.01  # seconds between two looks for due work


class Counter:
    """Counts the statements of this thread's connection, without savepoints."""

    def __init__(self) -> None:
        self.statements = 0

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Count a statement. Django's `execute_wrapper` calls this."""
        self.statements += not sql.startswith(SAVEPOINTS)
        return execute(sql, params, many, context)


def begin_session(session: str) -> dict[str, Any]:
    """Create the airline and a user of the staff, and return the cookie of a session."""
    Airline.objects.get_or_create(name=session)
    User.objects.get_or_create(username=NAME, defaults={"is_staff": True, "is_superuser": True})
    key = _client().session.session_key
    return {"name": settings.SESSION_COOKIE_NAME, "value": key}


def announce(announced: str) -> dict[str, Any]:
    """Upload a file from the disk, part by part."""
    path, now, user = Path(announced), timezone.now(), User.objects.get(username=NAME)
    wanted = UploadRequest(file=parse_file_name(path.name), size=path.stat().st_size)
    upload = create_upload(Actor.job(user), Airline.objects.get(), wanted, now)
    begin_at_store(upload, media_bucket())
    multipart = media_bucket().resume_upload(upload.incoming_key, upload.store_upload_id)
    plan = plan_of(upload)
    with path.open("rb") as file:
        for number in range(1, plan.total + 1):
            multipart.put_part(number, file.read(plan.length(number)))
    record_complete(Actor.job(user), upload, timezone.now())
    return {"id": str(upload.operation.uuid)}


def work(worked: str) -> dict[str, Any]:
    """Do the operation until it ends."""
    began = time.perf_counter()
    row = Operation.objects.filter(uuid=worked)
    while row.get().is_open:
        run_due_operations()
        time.sleep(IDLE)
    wall, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"wall": wall, "rss": peak, **look_up(worked)}


def look_up(ended: str) -> dict[str, Any]:
    """Return state and times of an upload, and the key of its object."""
    upload = Upload.objects.select_related("operation").get(operation__uuid=ended)
    operation = upload.operation
    return {
        "state": operation.state,
        "error": operation.error,
        "completed": upload.completed_at.timestamp() if upload.completed_at else None,
        "finished": operation.finished_at.timestamp() if operation.finished_at else None,
        "key": upload.object_key,
    }


def sign(signed: int) -> dict[str, Any]:
    """Sign the parts of an upload one at a time, as a browser does. Return the most that one took."""
    client, parts = _client(), signed
    body = {"airline": Airline.objects.get().name, "name": "signed.tgz", "size": parts << 24}
    sums = {"first_part_sha256": "0" * 64}
    upload = _post(client, UPLOADS, body | sums, 201)
    statements, requests = [], []
    for number in range(1, parts + 1):
        counter, before = Counter(), _requests()
        with connection.execute_wrapper(counter):
            part = {"number": number, "sha256": f"{'A' * 43}="}
            _post(client, f"{UPLOADS}{upload['id']}/parts/", {"parts": [part]}, 200)
        statements.append(counter.statements)
        requests.append(_requests() - before)
    return {"statements": max(statements), "store": max(requests)}


def admit(waiting: int, times: int) -> dict[str, Any]:
    """Queue operations, then admit as many as may run; those end before the next admission."""
    now, airline, user = timezone.now(), Airline.objects.get(), User.objects.get(username=NAME)
    number = waiting + times * settings.OPERATIONS_AT_ONCE
    rows = [
        Operation(
            kind="upload", airline=airline, user=user, title=f"film-{each}", bytes_total=each, reserved_bytes=each
        )
        for each in range(number)
    ]
    Operation.objects.bulk_create(rows, batch_size=2_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    with transaction.atomic():
        queue.lock_queue(timezone.now())  # the first time it creates the row of the queue
    seconds, statements = [], []
    for _ in range(times):
        counter = Counter()
        with connection.execute_wrapper(counter):
            began = time.perf_counter()
            with transaction.atomic():
                queue.lock_queue(timezone.now())
                admitted = queue.admit(timezone.now())
            seconds.append(time.perf_counter() - began)
        statements.append(counter.statements)
        ended = Operation.objects.filter(pk__in=admitted)
        ended.update(state=OperationState.SUCCEEDED, finished_at=now)
    return {"seconds": seconds, "statements": max(statements), "admitted": statistics.median([len(admitted)])}


def change(changed: int) -> dict[str, Any]:
    """Record progress of the only operation, and publish it."""
    began = time.time()
    with transaction.atomic():
        row = Operation.objects.get()
        Operation.objects.filter(pk=row.pk).update(bytes_done=changed, updated_at=timezone.now())
        publish_operations([row.pk])
    return {"at": began}


def _requests() -> int:
    """Return how many requests the portal has sent to the store so far."""
    stats = media_bucket_for_requests().requests
    return stats.list + stats.get + stats.put + stats.delete


def _client() -> Client:
    client = Client(HTTP_HOST=settings.ALLOWED_HOSTS[0])
    client.force_login(User.objects.get(username=NAME))
    return client


def _post(client: Client, path: str, body: object, status: int) -> Any:
    response = client.post(path, json.dumps(body), content_type="application/json")
    if response.status_code != status:
        raise SystemExit(f"{path} answered {response.status_code}: {response.content[:500]!r}")
    return response.json()


HANDLERS: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    "session": begin_session,
    "announced": announce,
    "worked": work,
    "ended": look_up,
    "signed": sign,
    "waiting": admit,
    "changed": change,
}


def main() -> None:
    """Handle each line of the input."""
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        response = next(handler for name, handler in HANDLERS.items() if name in request)(**request)
        print(json.dumps(response), flush=True)
