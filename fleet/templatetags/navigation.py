"""Template tag of the main navigation: airlines, loads that need attention, and operations that have not ended."""

from __future__ import annotations

from typing import Any, Final

from django import template
from django.db.models import F
from django.template.context import Context
from django.urls import reverse

from fleet.attention import queries
from fleet.models import AttentionFinding
from ifeportal.access import Role
from ifeportal.models import Airline
from ifeportal.operations.queries import open_count_subquery

register = template.Library()
NAMED: Final = 30  # airlines; the fleet page lists the others


@register.inclusion_tag("components/navigation.html", takes_context=True)
def navigation(context: Context) -> dict[str, Any]:
    """Render links to the fleet, attention, activity and the user's airlines; one query. Empty for anonymous users."""
    request = context.get("request")
    user = getattr(request, "user", None)
    if request is None or user is None or not user.is_authenticated:
        return {}
    attention = queries.open_count_subquery(AttentionFinding.objects.visible_to(user))
    rows = Airline.objects.visible_to(user).order_by("name").only("name", "title")
    rows = rows.annotate(attention=attention, activity=open_count_subquery(user))
    # Of the membership that makes the airline visible.
    airlines = list((rows if user.is_staff else rows.annotate(role=F("memberships__role")))[: NAMED + 1])
    return {
        "path": request.path,
        "in_admin": request.path.startswith(reverse("admin:index")),
        "admin": user.is_staff or any(getattr(airline, "role", "") == Role.MANAGER for airline in airlines),
        "airlines": airlines[:NAMED],
        "more": len(airlines) > NAMED,
        **{name: (getattr(airlines[0], name) or 0) if airlines else 0 for name in ("attention", "activity")},
    }
