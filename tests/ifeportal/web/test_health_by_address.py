"""Health pages of a real daphne in production, requested by address, as kubelets and load balancers do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.production_environment import KEY
from tests.support.web_server import WebServer

TOKEN = "a-token-of-at-least-20-characters"


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_health_pages_answer_by_address_in_production_without_tls(tmp_path: Path) -> None:
    with WebServer(tmp_path, DEBUG="0", SECRET_KEY=KEY, ALLOWED_HOSTS="ife.example.org", METRICS_TOKEN=TOKEN) as web:
        for host in ("10.0.3.7:8000", "[fd00::7]:8000", "kubelet"):
            headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
            for method in ("GET", "HEAD"):
                answers = {path: web.ask(method, path, headers=headers) for path in ("/healthz", "/readyz", "/metrics")}
                assert {path: answer.status for path, answer in answers.items()} == dict.fromkeys(answers, 200), host
