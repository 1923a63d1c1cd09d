"""Template tag of the form for service status and aircraft type."""

from __future__ import annotations

from typing import Any

from django import template

from fleet.choices import ServiceStatus
from fleet.models import Tail

register = template.Library()


@register.inclusion_tag("fleet/tail/service_status.html")
def duty_form(tail: Tail) -> dict[str, Any]:
    """Render the form; for users who may submit it."""
    return {"tail": tail, "duties": ServiceStatus.choices}
