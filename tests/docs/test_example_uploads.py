"""The example client and the curl commands of the documents upload to a real portal with a real store."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone
from ifeportal_client import Portal, Problem
from ifeportal_uploads import FileChanged, LocalFile, NotTheSameFile, PartRefused, Progress, UploadFailed, upload

from campaigns.library.models import LibraryItem
from campaigns.uploads import deletion
from campaigns.uploads import operation as upload_operation
from campaigns.uploads.announcements.part_plan import plan_parts
from campaigns.uploads.models import Upload
from fleet.simulation.faults import ErrorResponse, Reset, Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.accounts.tokens import create_token
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.operations.execution.runner import run_due_operations
from loader.contract.units import MIB
from loader.s3.client import S3Bucket
from tests.conftest import Cast
from tests.support.browser_portal import database_url
from tests.support.campaign_drafts import new_draft
from tests.support.portal_system import PortalSystem, is_answering, wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
PART = 16 * MIB
pytestmark = pytest.mark.processes


@dataclass
class Site:
    """A portal without workers, its bucket behind a proxy, and a manager's token. `work` does what a worker does."""

    address: str
    media: S3Bucket
    link: FaultProxy
    key: str

    def portal(self) -> Portal:
        return Portal(self.address, self.key, sleep=lambda seconds: None)

    def put_parts(self) -> list[Any]:
        return [each for each in self.link.requests("PUT", "*/data") if "partNumber" in each.query]


@pytest.fixture
def site(
    transactional_db: None,
    cast: Cast,
    tmp_path: Path,
    seaweed: SeaweedFS,
    media: S3Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    _, key = create_token(cast.mona, "program", days=1, airline=None, may_write=True)
    monkeypatch.setattr(upload_operation, "_media", lambda: media)
    monkeypatch.setattr(deletion, "_media", lambda: media)
    with FaultProxy(seaweed.endpoint) as link:
        environment = {
            "DATABASE_URL": database_url(),
            "SECRET_KEY": settings.SECRET_KEY,
            "MEDIA_BUCKET": media.name,
            "STATUS_BUCKET": f"{media.name}-status",
            **seaweed.environment(),
            "AWS_ENDPOINT_URL_S3": link.endpoint,
        }
        system = PortalSystem(tmp_path, environment)
        system.portal.start()
        try:
            wait_for("the portal answers", lambda: is_answering(system.address, system.portal))
            yield Site(system.address, media, link, key)
        finally:
            system.portal.signal()
            system.portal.wait()


class Running(threading.Thread):
    """A call in a thread, while this thread works as the portal's worker."""

    def __init__(self, call: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(daemon=True)
        self._work: Callable[[], Any] = lambda: call(*arguments, **options)
        self.answer: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = self._work()
        except BaseException as error:  # noqa: BLE001  the edge of a thread: raised by `result`
            self.error = error

    def result(self) -> Any:
        """Work until the call has returned. Return its answer, or raise its error."""

        def ended() -> bool:
            run_due_operations()
            return not self.is_alive()

        wait_for("the client ends", ended)
        if self.error is not None:
            raise self.error
        return self.answer


def write_file(path: Path, size: int) -> Path:
    path.write_bytes(hashlib.shake_128(path.name.encode()).digest(size))
    return path


def test_a_file_is_sent_in_parts_to_a_campaign_and_resumed(site: Site, cast: Cast, tmp_path: Path) -> None:
    film = write_file(tmp_path / "film.mp4", 2 * PART + 7)
    new_draft(cast.acme, scanned_at=timezone.now())  # the scan of a new draft would have to end first
    seen: list[Progress] = []
    with site.portal() as portal:
        state = Running(
            upload, portal, film, airline="ACME", campaign="2026-12", title="Film", progress=seen.append
        ).result()
        assert (state["status"], state["item"], state["uploaded_percentage"]) == ("uploaded", "film.mp4", 100)
        assert len(site.put_parts()) == 3
        assert max(each.bytes_done for each in seen if each.stage == "receiving") == film.stat().st_size
        packed = site.media.open("ACME/2026-12/film.mp4.tgz").read(3 * PART)
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            (member,) = [(each.name, each.size) for each in archive]
        assert member == ("film.mp4", film.stat().st_size)
        with pytest.raises(Problem) as exists:
            upload(portal, film, airline="ACME", campaign="2026-12")
        assert exists.value.code == "NAME_EXISTS"


def test_an_interrupted_upload_continues_and_another_file_does_not(site: Site, tmp_path: Path) -> None:
    film = write_file(tmp_path / "film.mp4", 2 * PART + 7)

    class Interrupted(Exception):
        pass

    def interrupt(now: Progress) -> None:
        if now.bytes_done >= PART + 7:
            raise Interrupted

    with site.portal() as portal:
        with pytest.raises(Interrupted):
            upload(portal, film, airline="ACME", progress=interrupt)
        other = write_file(tmp_path / "other.mp4", 2 * PART + 7)
        with pytest.raises(NotTheSameFile) as another:
            upload(portal, other, airline="ACME", name="film.mp4")
        assert another.value.upload == str(Upload.objects.get().operation.uuid)
        stored = portal.call("GET", f"uploads/{another.value.upload}/parts/")["parts"]
        before = len(site.put_parts())
        state = Running(upload, portal, film, airline="ACME").result()
        assert state["status"] == "uploaded"
        assert len(site.put_parts()) == before + 3 - len(stored)
    assert LibraryItem.objects.get().name == "film.mp4"


def test_a_wrong_file_fails_with_a_sentence_and_a_changed_one_is_not_completed(site: Site, tmp_path: Path) -> None:
    wrong = write_file(tmp_path / "wrong.tgz", 1_000)
    with site.portal() as portal:
        with pytest.raises(UploadFailed) as failed:
            Running(upload, portal, wrong, airline="ACME").result()
        assert failed.value.code
        assert "gzip" in str(failed.value)
        film = write_file(tmp_path / "film.mp4", 1_000)
        with pytest.raises(FileChanged, match="changed while it was uploaded"):
            upload(portal, film, airline="ACME", progress=lambda now: os.utime(film, (1, 1)))
        with pytest.raises(UploadFailed, match="SHA-256"):
            Running(upload, portal, write_file(tmp_path / "b.mp4", 9), airline="ACME", sha256="0" * 64).result()
    assert not LibraryItem.objects.exists()


def test_parts_are_signed_and_sent_again_after_faults_but_not_if_refused_for_good(site: Site, tmp_path: Path) -> None:
    film = write_file(tmp_path / "film.mp4", PART + 7)
    faults = [
        ErrorResponse(503, "SlowDown", retry_after=3),
        ErrorResponse(403, "AccessDenied"),  # as after the end of a signature
        Reset(),
    ]
    rules = [site.link.add(Rule(fault, "PUT", "*/data", nth=n)) for n, fault in enumerate(faults, 1)]
    pauses: list[float] = []
    with site.portal() as portal:
        state = Running(upload, portal, film, airline="ACME", sleep=pauses.append).result()
        assert state["status"] == "uploaded"
        assert [rule.hits for rule in rules] == [1, 1, 1]
        assert 3.0 in pauses
        refused = site.link.add(Rule(ErrorResponse(400, "BadDigest"), "PUT", "*/data", times=None))
        with pytest.raises(PartRefused, match="refused a part with 400"):
            upload(portal, write_file(tmp_path / "b.mp4", 9), airline="ACME")
        assert refused.hits == 1


def test_the_client_plans_parts_as_the_portal_does() -> None:
    for size in (1, PART, PART + 1, 9_000 * PART, 9_000 * PART + 1, 10**12, 5 * 2**40):
        assert LocalFile(Path("x"), size, 0).part_size() == plan_parts(size).part_size


def test_the_program_reads_its_token_from_the_environment(site: Site, tmp_path: Path) -> None:
    film = write_file(tmp_path / "film.mp4", 1_000)
    command = [sys.executable, ROOT / "docs/client/ifeportal_uploads.py", site.address, "ACME", film]
    done = Running(
        subprocess.run, command, env={**os.environ, "IFEPORTAL_TOKEN": site.key}, capture_output=True, text=True
    ).result()
    assert done.returncode == 0, done.stderr
    assert "film.mp4: uploaded" in done.stderr


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is not installed")
def test_the_curl_commands_of_the_documents_upload_a_file(site: Site, tmp_path: Path) -> None:
    (script,) = re.findall(r"^```bash\n(.*?)^```", (ROOT / "docs/uploads.md").read_text(), re.S | re.M)
    write_file(tmp_path / "film.mp4", PART + 5)
    script = script.replace("https://ife.example.org", site.address).replace("ife_0f1c…", site.key)
    done = Running(
        subprocess.run, ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True
    ).result()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "uploaded"
    assert LibraryItem.objects.get().name == "film.mp4"
    assert len(site.put_parts()) == 2
