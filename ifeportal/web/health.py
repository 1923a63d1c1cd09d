"""Health endpoints: liveness, readiness, Prometheus metrics.

/healthz and /readyz need no sign-in, so they name no airline. Reads jobs and airlines.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import AnonymousUser
from django.db import Error as DatabaseTrouble
from django.db.models import Max
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ifeportal.jobs import status
from ifeportal.models import Airline, Job, User

POLL_PREFIX = "poll:"


@dataclass(frozen=True)
class CheckResult:
    """Result of one check: whether it passed, why not, and the age of the data it is based on (seconds)."""

    ok: bool
    reason: str = ""
    age_seconds: float | None = None


@login_not_required
@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Liveness: the process responds. Uses no other service."""
    return HttpResponse("ok\n", content_type="text/plain")


@login_not_required
@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Readiness: 200 if the database responds and polls succeed, else 503 with the reason; also counts of alerts."""
    checks = current_status()
    ready = all(check.ok for check in checks.values())
    reasons = [check.reason for check in checks.values() if not check.ok]
    body = {
        "ready": ready,
        "reason": " ".join(reasons),
        "checks": {name: asdict(check) for name, check in checks.items()},
        "alerts": _current_alerts() if checks["database"].ok else None,
    }
    return JsonResponse(body, status=200 if ready else 503)


@login_not_required
@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus metrics, with METRICS_TOKEN or for staff. 401 without sign-in, 404 for other users."""
    if not _has_metrics_token(request):
        user: User | AnonymousUser = request.user
        if not user.is_authenticated:
            return HttpResponse("Unauthorized\n", status=401, headers={"WWW-Authenticate": 'Bearer realm="metrics"'})
        if not user.is_staff:
            raise Http404
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


def current_status() -> dict[str, CheckResult]:
    """Check the database and the age of the last successful poll."""
    try:
        polled = Job.objects.filter(name__startswith=POLL_PREFIX).aggregate(newest=Max("succeeded_at"))["newest"]
        airlines = Airline.objects.exists()
    except DatabaseTrouble:
        return {"database": CheckResult(ok=False, reason="The database is not responding.")}
    if polled is None:
        polls = CheckResult(ok=not airlines, reason="No poll has succeeded yet." if airlines else "")
    else:
        age = round((timezone.now() - polled).total_seconds(), 3)
        ok = age <= settings.READY_WITHIN
        reason = (
            "" if ok else f"The last successful poll was {age:.0f} s ago. The limit is {settings.READY_WITHIN:.0f} s."
        )
        polls = CheckResult(ok=ok, reason=reason, age_seconds=age)
    return {"database": CheckResult(ok=True), "polls": polls}


def _current_alerts() -> dict[str, int | bool] | None:
    try:
        return asdict(status.current_alerts(timezone.now()))
    except DatabaseTrouble:
        return None


def _has_metrics_token(request: HttpRequest) -> bool:
    header = request.headers.get("Authorization", "")
    return bool(settings.METRICS_TOKEN) and constant_time_compare(header, f"Bearer {settings.METRICS_TOKEN}")


urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]
