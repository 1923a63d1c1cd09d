"""The folder of the demo: its lock, secrets and elapsed time."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.demo.aircraft import MEDIA, STATUS
from fleet.demo.scenario import AIRLINES
from ifeportal.conf.environment import Config


class DemoError(Exception):
    """The demo cannot start or go on; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who may sign in."""

    name: str
    password: str
    sees: str


class DemoFolder:
    """What the demo keeps between two starts. The folder is locked while it is open."""

    def __init__(self, folder: Path) -> None:
        """Raises DemoError if another demo runs in this folder."""
        self.folder = folder.absolute()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(f"A demo runs in {self.folder} already. Stop it first (Ctrl-C in its terminal).") from error
        self._secrets = self._read("secrets.json") or self._make_secrets()

    def reset(self) -> None:
        """Forget everything but the lock."""
        for path in self.folder.iterdir():
            if path.name == "lock":
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        self._secrets = self._make_secrets()

    @property
    def elapsed(self) -> float:
        """Seconds the demo has run so far, over all its starts."""
        return float(self._read("elapsed.json").get("seconds", 0.0))

    @elapsed.setter
    def elapsed(self, seconds: float) -> None:
        self._write("elapsed.json", {"seconds": round(seconds, 1)})

    @property
    def logins(self) -> list[Login]:
        """Who may sign in."""
        return [
            Login("ops", self._secrets["ops"], "every airline (operations, staff)"),
            Login("aurora", self._secrets["aurora"], f"{AIRLINES[0].title} only (a user of that airline)"),
            Login("admin", self._secrets["admin"], "everything, and /admin/ (superuser)"),
        ]

    def environment(self) -> dict[str, str]:
        """For processes of the portal: ours without anything that configures another portal, then the demo's."""
        known = {field.upper() for field in Config.__dataclass_fields__}
        ours = {n: v for n, v in os.environ.items() if n not in known and not n.startswith(("AWS_", "LOADER_"))}
        return {
            **ours,
            "DEBUG": "1",
            "SECRET_KEY": self._secrets["key"],
            "DATABASE_URL": f"sqlite:///{self.folder / 'ifeportal.sqlite3'}",
            "MEDIA_BUCKET": MEDIA,
            "STATUS_BUCKET": STATUS,
        }

    def close(self) -> None:
        """Let another demo use the folder."""
        self._lock.close()

    def _make_secrets(self) -> dict[str, str]:
        made = {name: secrets.token_urlsafe(9) for name in ("ops", "aurora", "admin")}
        made["key"] = secrets.token_urlsafe(50)
        self._write("secrets.json", made)
        return made

    def _read(self, name: str) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads((self.folder / name).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return found

    def _write(self, name: str, values: Mapping[str, object]) -> None:
        new = self.folder / f".{name}.new"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(values, file, indent=1)
        new.replace(self.folder / name)
