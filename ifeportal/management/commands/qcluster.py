"""`qcluster`: django-q2's command, except that it ignores a second SIGTERM, which would deadlock it."""

from __future__ import annotations

import os
import signal
from typing import Any

from django_q.cluster import Cluster
from django_q.management.commands import qcluster

from ifeportal.jobs.workers import request_stop


class SignalSafeCluster(Cluster):  # type: ignore[misc]  # django-q2 has no annotations
    """Stops at the first signal and ignores further ones: the signal handler takes a lock that is not reentrant."""

    def sig_handler(self, signum: int, frame: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        request_stop()
        super().sig_handler(signum, frame)


class Command(qcluster.Command):  # type: ignore[misc]
    help = "Run the workers for jobs such as polling the buckets. Stop it with SIGTERM to this process only."

    def handle(self, *args: Any, **options: Any) -> None:
        if options["cluster_name"]:
            os.environ["Q_CLUSTER_NAME"] = options["cluster_name"]
        cluster = SignalSafeCluster()
        cluster.start()
        if options["run_once"]:
            cluster.stop()
