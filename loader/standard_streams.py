"""Standard streams as they are: closed (`>&-`), broken pipes, and a locale that is not UTF-8.

A program started with a closed stream has no `sys.stdout`, and the next file it opens gets the stream's number, so that
stray output would end up in it. Standard library only; call it before anything is opened or printed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

_NAMES: Final = ("stdin", "stdout", "stderr")


def open_closed_streams() -> None:
    """Open /dev/null in place of each standard stream that is closed."""
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one, because those before it are open.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def flush_streams() -> None:
    """Flush what was printed. If nothing reads it any more, drop it: Python would fail at exit, with code 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def restart_in_utf8() -> None:
    """Replace this process by one in Python's UTF-8 mode, if the locale has another encoding.

    File names and output would depend on the locale otherwise. In the locales C and POSIX Python uses UTF-8 by itself.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606  no shell is wanted
