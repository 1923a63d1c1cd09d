"""Runs one command and prints what it cost, as JSON. A small program of its own, on purpose.

The peak of a process's memory, as the kernel keeps it, begins with that of whoever started it: a benchmark that has
itself grown to 60 MiB would measure nothing below. Imports little. The arguments are the command; its output goes where
ours goes, but standard output to standard error.
"""

import json
import os
import sys
import time


def main() -> None:
    """See the module. Ends with 0 whatever the command does."""
    began = time.perf_counter()
    child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - began
    print(
        json.dumps(
            {
                "wall": wall,
                "cpu": usage.ru_utime + usage.ru_stime,
                "rss": usage.ru_maxrss * 1024,
                "code": os.waitstatus_to_exitcode(status),
            }
        )
    )


if __name__ == "__main__":
    main()
