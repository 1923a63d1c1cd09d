#!/usr/bin/env python3
"""Django's command line. The commands of an aircraft get settings of their own: they need no database."""

import atexit
import os
import sys

from loader.standard_streams import flush_streams, open_closed_streams, restart_in_utf8


def main() -> None:
    """Choose the settings by the command, then run it."""
    restart_in_utf8()
    open_closed_streams()
    atexit.register(flush_streams)
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "run_loader":
        from loader.main import main as run_loader  # noqa: PLC0415  without Django, which takes longer to load

        sys.exit(run_loader(sys.argv[2:]))
    from django.core.management import execute_from_command_line  # noqa: PLC0415  not for the loader, as said above

    aboard = command in ("loader_status", "loader_trust")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", f"ifeportal.settings{'_aircraft' if aboard else ''}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
