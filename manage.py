#!/usr/bin/env python3
"""Django's command line. `run_loader` gets the aircraft's settings unless told otherwise: it needs no database."""

import os
import sys

from django.core.management import execute_from_command_line


def main() -> None:
    """Choose the settings by the command, then run it."""
    aboard = len(sys.argv) > 1 and sys.argv[1] == "run_loader"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", f"ifeportal.settings{'_aircraft' if aboard else ''}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
