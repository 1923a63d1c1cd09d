"""The form that sets whether a tail is in service, and its aircraft type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from fleet.choices import ServiceStatus
from fleet.models import Tail
from fleet.service_status import update_tail
from ifeportal import audit
from ifeportal.access import Role, role_or_403

if TYPE_CHECKING:
    _ServiceStatusForm = forms.ModelForm[Tail]
else:
    _ServiceStatusForm = forms.ModelForm


class ServiceStatusForm(_ServiceStatusForm):
    """Service status and aircraft type."""

    class Meta:
        model = Tail
        fields = ["duty", "aircraft_type"]


@require_POST
def duty(request: HttpRequest, airline: str, tail: str) -> HttpResponse:
    """Save the form and publish the tail with the totals that it changes."""
    rows = Tail.objects.select_related("airline")
    row = role_or_403(rows, request.user, Role.OPERATOR, airline__name=airline, name=tail)
    form = ServiceStatusForm(request.POST, instance=row)
    if not form.is_valid():
        messages.error(request, " ".join(str(error) for errors in form.errors.values() for error in errors))
    elif form.changed_data:
        with transaction.atomic():
            _save(request, rows.get(pk=row.pk), form)
        messages.success(request, f"{row.name} is now {row.get_duty_display()}.")
    return redirect("tail", airline, tail)


def _save(request: HttpRequest, row: Tail, form: ServiceStatusForm) -> None:
    audit.record(audit.Actor.of(request), "tail.duty", row.name, airline=row.airline, changes=audit.changes_of(form))
    update_tail(row, ServiceStatus(form.cleaned_data["duty"]), form.cleaned_data["aircraft_type"])
