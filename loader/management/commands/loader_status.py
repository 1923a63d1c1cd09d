"""`manage.py loader_status`: print the status of the loader on this aircraft, from its socket. Needs no database."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from loader.config import SettingsError, read_content_dirs
from loader.errors import ExitCode, WorldError
from loader.local_api import client
from loader.monitor.status_table import render_disk, render_status
from loader.storage.content_store import ContentStore

CLEAR = "\x1b[H\x1b[2J"


class Command(BaseCommand):
    help = (
        "Print the status of the loader on this aircraft as a table. Exit: 0 the loader answered, 1 this user has no "
        "access to it, 2 no content directory was given, 75 no loader is running; the content on disk is shown instead."
    )
    requires_system_checks: list[str] = []
    suppressed_base_arguments = {"--verbosity", "--traceback", "--pythonpath", "--no-color", "--force-color"}

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--content-dir",
            metavar="DIR",
            help="the loader's first content directory (default: the first of LOADER_CONTENT_DIR)",
        )
        parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
        parser.add_argument("--watch", action="store_true", help="print every change until the loader ends")

    def handle(self, *args: object, **options: Any) -> None:
        given = options["content_dir"]
        try:
            directory = read_content_dirs([given] if given else None, os.environ)[0]
        except SettingsError as error:
            raise CommandError(str(error), returncode=ExitCode.USAGE) from error
        try:
            for status in client.watch_status(directory) if options["watch"] else [client.fetch_status(directory)]:
                self._show(status, as_json=options["json"], again=options["watch"])
        except PermissionError as error:
            text = f"Access to the loader of {directory} denied. Run this as its user or in the socket's group."
            raise CommandError(text, returncode=ExitCode.SOME_FAILED) from error
        except client.LoaderNotRunning as error:
            self._show_disk(directory, str(error), as_json=options["json"])
            sys.exit(ExitCode.UNREACHABLE)
        except KeyboardInterrupt:
            pass

    def _show(self, status: client.StatusData, *, as_json: bool, again: bool) -> None:
        if as_json:
            self._print([json.dumps(status)])
        else:
            self._print([CLEAR * (again and self.stdout.isatty()) + "\n".join(render_status(status))])

    def _show_disk(self, directory: Path, reason: str, *, as_json: bool) -> None:
        """Print the content of the directory. Creates and locks nothing."""
        campaigns, space = [], None
        if directory.is_dir():
            try:
                store = ContentStore(directory)
                campaigns, space = store.held_campaigns(), store.space()
                store.close()
            except WorldError as error:
                reason = f"{reason}; {error}"
        if as_json:
            found = [
                {"campaign": campaign.campaign, "items": campaign.items, "bytes": campaign.bytes}
                for campaign in campaigns
            ]
            self._print([json.dumps({"running": False, "reason": reason, "held": found})])
        else:
            self._print([f"{reason[:1].upper()}{reason[1:]}.", *(render_disk(space, campaigns) if space else [])])

    def _print(self, lines: Iterable[str]) -> None:
        encoding = getattr(self.stdout, "encoding", None) or "utf-8"
        for line in lines:
            self.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding))
        self.stdout.flush()
