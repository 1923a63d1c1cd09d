"""Bases of management commands: help text shown as it is written, and the media bucket with its exit codes."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ifeportal.storage.buckets import media_bucket
from loader.errors import Cause, ExitCode, WorldError
from loader.s3.interface import Bucket


class FormattedHelpCommand(BaseCommand):
    """A command whose `help` keeps its line breaks."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)


class BucketCommand(FormattedHelpCommand):
    """A command that works on the media bucket and needs no database."""

    requires_system_checks = ()

    def media_bucket(self) -> Bucket:
        """Return the media bucket of the settings. Raises CommandError if a setting is invalid."""
        try:
            return media_bucket()
        except ValueError as error:
            raise CommandError(str(error), returncode=ExitCode.USAGE) from error


def exit_code(error: WorldError) -> ExitCode:
    """Return the exit code of a command that `error` ended."""
    if not error.permanent:
        return ExitCode.UNREACHABLE
    return ExitCode.USAGE if error.cause in (Cause.AUTHENTICATION, Cause.ACCESS) else ExitCode.SOME_FAILED
