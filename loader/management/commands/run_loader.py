"""`manage.py run_loader`: the loader as a Django command; calls `loader.main`. Needs no database."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from loader.config import SettingsError
from loader.errors import ExitCode
from loader.main import ABOUT, add_options, run


class Command(BaseCommand):
    help = ABOUT
    requires_system_checks: list[str] = []
    suppressed_base_arguments = {"--verbosity", "--traceback", "--pythonpath", "--no-color", "--force-color"}

    def add_arguments(self, parser: CommandParser) -> None:
        add_options(parser)

    def handle(self, *args: object, **options: Any) -> None:
        try:
            code = run(options)
        except SettingsError as error:
            raise CommandError(str(error), returncode=ExitCode.USAGE) from error
        sys.exit(code)
