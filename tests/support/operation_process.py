"""Portal commands in processes that know two more kinds of operation: `python -c "..." qcluster`.

The kind `steps` takes STEPS steps. Each commits a row of the audit log and the checkpoint in one transaction. The kind
`endless` uses each slice to its end, and goes on until it is cancelled.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Final

from django.core.management import execute_from_command_line

from ifeportal import audit
from ifeportal.audit import Actor
from ifeportal.operations import kinds
from ifeportal.operations.kinds import Continue, Done, Kind, Result, Slice

STEPS: Final = 150
PAUSE: Final = 0.02  # seconds of work in a step
START: Final = (
    "import os; os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'ifeportal.settings'); import django; django.setup(); "
    "from tests.support.operation_process import main; main()"
)


def run_steps(work: Slice) -> Result:
    while (at := work.operation.checkpoint.get("at", 0)) < STEPS:
        time.sleep(PAUSE)
        work.report(at + 1, STEPS, stage="working")
        work.commit(partial(audit.record, Actor.job(None), f"step.{at}", "test"), at=at + 1)
        if work.is_over:
            return Continue()
    return Done()


def run_endless(work: Slice) -> Result:
    while not work.is_over:
        time.sleep(PAUSE)
        work.commit(at=work.operation.checkpoint.get("at", 0) + 1)
    return Continue()


STEPS_KIND: Final = Kind("steps", "Steps", run_steps)
ENDLESS_KIND: Final = Kind("endless", "Endless", run_endless)


def main() -> None:
    """Run the command of the portal that the arguments name."""
    kinds.register(STEPS_KIND, ENDLESS_KIND)
    execute_from_command_line(["manage.py", *sys.argv[1:]])
