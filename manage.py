#!/usr/bin/env python3
"""Django's command line. The commands of an aircraft get its settings unless told otherwise: they need no database."""

import os
import sys

from django.core.management import execute_from_command_line


def main() -> None:
    """Choose the settings by the command, then run it."""
    aboard = len(sys.argv) > 1 and sys.argv[1] in ("run_loader", "loader_status", "loader_trust")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", f"ifeportal.settings{'_aircraft' if aboard else ''}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
