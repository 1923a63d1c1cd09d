"""`qcluster`: django-q2's command, made to ignore a second SIGTERM, which would make it wait for itself forever."""

from __future__ import annotations

import os
import signal
from typing import Any

from django_q.cluster import Cluster
from django_q.management.commands import qcluster


class SignalSafeCluster(Cluster):  # type: ignore[misc]  # django-q2 has no annotations
    """Stops at the first signal and ignores later ones, because its lock is not reentrant."""

    def sig_handler(self, signum: int, frame: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        super().sig_handler(signum, frame)


class Command(qcluster.Command):  # type: ignore[misc]
    def handle(self, *args: Any, **options: Any) -> None:
        """Run until a signal stops it."""
        if options["cluster_name"]:
            os.environ["Q_CLUSTER_NAME"] = options["cluster_name"]
        cluster = SignalSafeCluster()
        cluster.start()
        if options["run_once"]:
            cluster.stop()
