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
    """The demo cannot start or continue; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the demo; `sees` describes what they can see."""

    name: str
    password: str
    sees: str


class DemoFolder:
    """The demo's data between two starts. The folder is locked while it is open."""

    def __init__(self, folder: Path) -> None:
        """Raises DemoError if another demo runs in this folder."""
        self.folder = folder.absolute()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(
                f"A demo already runs in {self.folder}. Stop it first with Ctrl-C in its terminal."
            ) from error
        self._secrets = self._read("secrets.json") or self._make_secrets()

    def reset(self) -> None:
        """Delete everything but the lock."""
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
        """The seconds the demo has run so far, over all starts."""
        return float(self._read("elapsed.json").get("seconds", 0.0))

    @elapsed.setter
    def elapsed(self, seconds: float) -> None:
        self._write("elapsed.json", {"seconds": round(seconds, 1)})

    @property
    def logins(self) -> list[Login]:
        """The users of the demo and their passwords."""
        return [
            Login("ops", self._secrets["ops"], "all airlines (staff)"),
            Login("aurora", self._secrets["aurora"], f"{AIRLINES[0].title} only (manager of the airline)"),
            Login("admin", self._secrets["admin"], "everything, including /admin/ (superuser)"),
        ]

    def environment(self) -> dict[str, str]:
        """Return the environment of the portal's processes: without settings of another portal, with the demo's."""
        known = {field.upper() for field in Config.__dataclass_fields__}
        inherited = {n: v for n, v in os.environ.items() if n not in known and not n.startswith(("AWS_", "LOADER_"))}
        return {
            **inherited,
            "DEBUG": "1",
            "SECRET_KEY": self._secrets["key"],
            "DATABASE_URL": f"sqlite:///{self.folder / 'ifeportal.sqlite3'}",
            "MEDIA_BUCKET": MEDIA,
            "STATUS_BUCKET": STATUS,
        }

    def close(self) -> None:
        """Unlock the folder."""
        self._lock.close()

    def _make_secrets(self) -> dict[str, str]:
        generated = {name: secrets.token_urlsafe(9) for name in ("ops", "aurora", "admin")}
        generated["key"] = secrets.token_urlsafe(50)
        self._write("secrets.json", generated)
        return generated

    def _read(self, name: str) -> dict[str, str]:
        try:
            values: dict[str, str] = json.loads((self.folder / name).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return values

    def _write(self, name: str, values: Mapping[str, object]) -> None:
        new = self.folder / f".{name}.new"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(values, file, indent=1)
        new.replace(self.folder / name)
