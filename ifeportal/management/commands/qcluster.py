"""`qcluster`: django-q2's command, with a second SIGTERM ignored, on which it would wait for itself forever."""

from __future__ import annotations

import os
import signal
from typing import Any

from django_q.cluster import Cluster
from django_q.management.commands import qcluster


class SignalSafeCluster(Cluster):  # type: ignore[misc]  # django-q2 has no annotations
    """Stops at the first signal; of the next ones it takes no notice, as its lock knows no second entry."""

    def sig_handler(self, signum: int, frame: Any) -> None:
        """Told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        super().sig_handler(signum, frame)


class Command(qcluster.Command):  # type: ignore[misc]
    def handle(self, *args: Any, **options: Any) -> None:
        """Run until told to stop."""
        if options["cluster_name"]:
            os.environ["Q_CLUSTER_NAME"] = options["cluster_name"]
        cluster = SignalSafeCluster()
        cluster.start()
        if options["run_once"]:
            cluster.stop()
