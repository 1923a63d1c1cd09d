"""Concurrent sign-ins are hashed by a few threads in bounded memory; a request that waits too long gets a 503."""

from __future__ import annotations

import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from ifeportal.embedded.processes import LOOPBACK
from tests.conftest import PASSWORD
from tests.support.portal_system import PortalSystem, is_answering, wait_for

AT_ONCE = 28  # below the limit of 30 per minute and address
MIB = 1024
# Two hashes at a time: 100 MiB each for those of earlier releases, 19 MiB each for ours. The rest is for 28 threads
# with their requests (12 MiB were measured).
THREADS = 48 * MIB
OLD, NEW = 2 * 100 * MIB, 2 * 19 * MIB
MAKE_USERS = f"""
from django.contrib.auth.hashers import Argon2PasswordHasher
from ifeportal.models import User
hashed = Argon2PasswordHasher().encode({PASSWORD!r}, "s" * 22)
User.objects.bulk_create(User(username=f"old{{number}}", password=hashed) for number in range({AT_ONCE}))
User.objects.create_user("alice", password={PASSWORD!r})
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PortalSystem]:
    """Run daphne alone, with its own database."""
    folder = tmp_path_factory.mktemp("sign-ins")
    system = PortalSystem(folder, {"DATABASE_URL": f"sqlite:///{folder}/portal.sqlite3"})
    system.manage("migrate", "-v", "0")
    system.manage("shell", "-v", "0", "-c", MAKE_USERS)
    system.portal.popen = subprocess.Popen  # its memory is measured
    system.portal.start()
    try:
        wait_for("the portal answers", lambda: is_answering(system.address, system.portal))
        yield system
    finally:
        system.portal.signal()
        system.portal.wait()


class Person:
    """A browser with its own client address."""

    def __init__(self, system: PortalSystem, place: str) -> None:
        self.port = system.port
        self.place = place
        page, cookies = self._open_page()
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token
        self._token, self._cookies = token[1], cookies

    def sign_in(self, name: str, password: str) -> int:
        """Try to sign in, and return the status of the response."""
        form = {"login": name, "password": password, "csrfmiddlewaretoken": self._token}
        connection = HTTPConnection(LOOPBACK, self.port, timeout=120, source_address=(self.place, 0))
        headers = {"Cookie": self._cookies, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/login/", urlencode(form), headers)
        return connection.getresponse().status

    def _open_page(self) -> tuple[str, str]:
        """Load the sign-in page and its cookies."""
        connection = HTTPConnection(LOOPBACK, self.port, timeout=120, source_address=(self.place, 0))
        connection.request("GET", "/login/")
        answer = connection.getresponse()
        cookies = [value.split(";")[0] for name, value in answer.getheaders() if name == "Set-Cookie"]
        return answer.read().decode(), "; ".join(cookies)


def memory(pid: int, figure: str) -> int:
    """Return VmRSS or VmHWM of a process, in KiB."""
    found = re.search(rf"^{figure}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found
    return int(found[1])


def growth(system: PortalSystem, place: str, name: str) -> tuple[int, Counter[int]]:
    """Return the peak rise of memory in KiB during concurrent sign-ins with a wrong password, and the statuses."""
    person = Person(system, place)
    pid = system.portal.pid
    assert pid
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets VmHWM
    before = memory(pid, "VmRSS")
    together = threading.Barrier(AT_ONCE)

    def attempt(number: int) -> int:
        together.wait()
        return person.sign_in(name.format(number), "wrong")

    with ThreadPoolExecutor(AT_ONCE) as threads:
        statuses = Counter(threads.map(attempt, range(AT_ONCE)))
    return memory(pid, "VmHWM") - before, statuses


@pytest.mark.processes
@pytest.mark.slow("starts a portal with its own database")
@pytest.mark.parametrize(
    ("place", "name", "bound"), [("127.0.0.2", "nobody{}", NEW), ("127.0.0.3", "old{}", OLD)], ids=["new", "old"]
)
def test_wrong_passwords_at_once_take_bounded_memory(system: PortalSystem, place: str, name: str, bound: int) -> None:
    risen, statuses = growth(system, place, name)
    assert risen < bound + THREADS, statuses
    assert set(statuses) <= {200, 503}
    assert Person(system, place).sign_in("alice", PASSWORD) == 302
