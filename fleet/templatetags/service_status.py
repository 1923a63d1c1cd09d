"""Template tag of the form for service status and aircraft type."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import Context

from fleet.choices import ServiceStatus
from fleet.models import Tail
from ifeportal.access import Role

register = template.Library()


@register.inclusion_tag("fleet/tail/service_status.html", takes_context=True)
def duty_form(context: Context, tail: Tail) -> dict[str, Any]:
    """Render the form for users who may submit it, else nothing; one query."""
    may = Tail.objects.with_role(context["request"].user, Role.OPERATOR).filter(pk=tail.pk).exists()
    return {"tail": tail, "may": may, "duties": ServiceStatus.choices}
