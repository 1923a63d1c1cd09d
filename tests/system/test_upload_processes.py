"""Real processes: a program uploads over HTTP into a real store, workers die at every stage, others complete it."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from campaigns.models import DraftItem
from campaigns.uploads.models import Upload
from fleet.simulation.faults import Fault, Hang, Request, Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.accounts.tokens import create_token
from ifeportal.audit import Actor
from ifeportal.embedded.processes import Process, Supervisor
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.models import AuditEntry
from ifeportal.operations import kinds
from ifeportal.operations.models import Operation
from ifeportal.operations.requests import cancel, submit
from loader.s3.client import S3Bucket
from tests.conftest import Cast
from tests.ifeportal.live.test_across_processes import environment
from tests.support.operation_process import ENDLESS_KIND, START
from tests.support.portal_forks import popen
from tests.support.portal_system import ROOT, wait_for
from tests.support.upload_client import UploadClient
from tests.support.upload_work import noise
from tests.support.web_server import WebServer

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
CAMPAIGN = "2026-12"
SMALL_FILES = 30


class HangRead(Hang):
    """A read of a version never ends. Other requests to the key, such as listing its parts, are answered."""

    def __init__(self) -> None:
        self.hits = 0

    def for_request(self, request: Request) -> Fault:
        if not request.find("If-Match"):
            return Fault()
        self.hits += 1
        return self


class Workers:
    """A pacemaker and a qcluster, whose requests to the store pass through `link`; the client's do not."""

    def __init__(self, folder: Path, settings: dict[str, str], link: FaultProxy) -> None:
        self.folder, self.link = folder, link
        self.environment = {**environment(), **settings, "AWS_ENDPOINT_URL_S3": link.endpoint}
        self.supervisor = Supervisor()

    def start(self, command: str) -> None:
        self.supervisor.start(
            Process(
                command,
                [sys.executable, "-c", START, command],
                log=self.folder / f"{command}.log",
                environment=self.environment,
                folder=ROOT,
                stop_timeout=60,
                popen=popen,
            )
        )

    def kill_holder(self, rule: Rule) -> None:
        """Kill the worker whose request hangs, and end its lease, which would run out in real time."""
        holder = Operation.objects.get(kind="upload").holder
        os.kill(int(holder.split("/")[1].split(":")[1]), signal.SIGKILL)
        self.link.rules.remove(rule)
        Operation.objects.exclude(lease_until=None).update(lease_until=timezone.now() - timedelta(seconds=1))


@pytest.fixture
def settings_of_store(seaweed: SeaweedFS, media: S3Bucket, status: S3Bucket) -> dict[str, Any]:
    buckets = {"MEDIA_BUCKET": media.name, "STATUS_BUCKET": status.name}
    return {"POLL_INTERVAL": "60s", "POLL_CEILING": "60s", **buckets, **seaweed.environment()}


@pytest.fixture
def workers(
    transactional_db: None, tmp_path: Path, seaweed: SeaweedFS, settings_of_store: dict[str, Any]
) -> Iterator[Workers]:
    kinds.register(ENDLESS_KIND)
    try:
        with FaultProxy(seaweed.endpoint) as link:
            workers = Workers(tmp_path, settings_of_store, link)
            with workers.supervisor:
                workers.start("pacemaker")
                workers.start("qcluster")
                yield workers
    finally:
        del kinds._kinds[ENDLESS_KIND.name]


@pytest.fixture
def client(cast: Cast, workers: Workers, tmp_path: Path, settings_of_store: dict[str, Any]) -> Iterator[UploadClient]:
    """A program of Mona, the manager of ACME."""
    _, key = create_token(cast.mona, "program", days=1, airline=cast.acme, may_write=True)
    with WebServer(tmp_path, **settings_of_store) as server:
        yield UploadClient(server.address, key)


def has_hung(rule: Rule) -> bool:
    return bool(rule.fault.hits if isinstance(rule.fault, HangRead) else rule.hits)


def packed_file(media: S3Bucket, key: str) -> tuple[str, bytes]:
    """Return SHA-256 of the object, and the content of the only file in it."""
    with media.open(key) as body:
        packed = b"".join(iter(body.read, b""))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        [member] = archive.getmembers()
        found = archive.extractfile(member)
        assert found is not None
        return hashlib.sha256(packed).hexdigest(), found.read()


def end_of(client: UploadClient, upload: Any) -> Any:
    """Wait until the upload has ended. Return it."""

    def ended() -> Any:
        state = client.state(upload)
        return state if state["finished_at"] else None

    return wait_for("the end of the upload", ended, step=0.1)


@pytest.mark.slow("real workers are killed at each stage and replaced")
def test_an_upload_whose_workers_are_killed_at_each_stage_is_placed_once(
    client: UploadClient, workers: Workers, media: S3Bucket
) -> None:
    body, link = noise(17 * 2**20), workers.link
    key = f"ACME/{CAMPAIGN}/film.mp4.tgz"
    stages = {
        "checking": Rule(HangRead(), key="*/data", times=None),
        "packing": Rule(Hang(), method="PUT", key="*/packed", times=None),
        "placing": Rule(Hang(), method="PUT", key=f"*/{key}", times=None),
    }
    upload = client.create("film.mp4", body, campaign=CAMPAIGN)
    assert upload["status"] == "pending"
    for rule in stages.values():
        link.add(rule)
    assert client.send(upload, body)["status"] == "loading"
    for stage, rule in stages.items():
        wait_for(f"a worker at {stage}", partial(has_hung, rule))
        assert (client.state(upload)["stage"], client.state(upload)["status"]) == (stage, "loading")
        workers.kill_holder(rule)

    end = end_of(client, upload)
    assert (end["status"], end["error"], end["percent"], end["meta_info"]["size"]) == ("uploaded", "", 100, len(body))
    digest, content = packed_file(media, key)
    assert content == body
    assert (end["object_sha256"], end["meta_info"]["sha256"]) == (digest, hashlib.sha256(body).hexdigest())
    completed = [each for each in link.requests("POST", f"*/{key}") if "uploadId" in each.query]
    assert len(completed) == 1
    item = DraftItem.objects.get(draft__name=CAMPAIGN)
    assert (item.name, item.included, item.sha256) == ("film.mp4", True, digest)
    assert [info.key for info in media.list("ACME/")] == [key]
    assert list(media.list_uploads("ACME/")) == []
    actions = AuditEntry.objects.filter(action__contains="upload").order_by("pk")
    assert list(actions.values_list("action", "target")) == [
        (action, f"ACME/{CAMPAIGN}/film.mp4")
        for action in ("upload.created", "upload.completed", "operation.upload.succeeded")
    ]


@pytest.mark.slow("real workers process many uploads")
def test_many_uploads_and_a_long_operation_do_not_starve_each_other(
    cast: Cast, client: UploadClient, workers: Workers, media: S3Bucket
) -> None:
    long = submit(ENDLESS_KIND.name, cast.acme, Actor.job(cast.mona), "Hash everything")
    files = {f"clip-{number}.txt": b"%d" % number for number in range(SMALL_FILES)}
    with ThreadPoolExecutor(4) as threads:
        uploads = list(threads.map(lambda name: client.upload(name, files[name]), files))
    wait_for("all uploads", lambda: not Upload.objects.exclude(status="uploaded").exists(), step=0.1)
    assert {client.state(upload)["percent"] for upload in uploads} == {100}
    long.refresh_from_db()
    assert long.state == "running"
    done = long.checkpoint["at"]
    wait_for("progress of the long operation", lambda: Operation.objects.get(pk=long.pk).checkpoint["at"] > done)
    cancel(long, Actor.job(cast.mona))
    wait_for("its end", lambda: not Operation.objects.open().exists())
    for name, body in files.items():
        assert packed_file(media, f"ACME/.library/{name}.tgz")[1] == body
