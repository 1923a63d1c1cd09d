"""The settings page of an airline, and the logo and style sheet that its pages load."""

from __future__ import annotations

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.cache import patch_cache_control
from django.views.decorators.cache import never_cache
from django.views.decorators.http import condition, require_http_methods, require_safe

from fleet.feed import airline_change
from fleet.stats import rollup
from ifeportal import audit
from ifeportal.access import Role, role_or_403, visible_or_404
from ifeportal.airlines.branding import logo_tag_of, stylesheet
from ifeportal.airlines.forms import AirlineForm, ThresholdForm
from ifeportal.live.feed import publish
from ifeportal.models import Airline, Logo
from ifeportal.web.responses import render_page


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: HttpRequest, airline: str) -> HttpResponse:
    """Edit an airline: operators its thresholds, managers also its branding and contact."""
    row = role_or_403(Airline.objects.all(), request.user, Role.OPERATOR, name=airline)
    manages = Airline.objects.with_role(request.user, Role.MANAGER).filter(pk=row.pk).exists()
    kind = AirlineForm if manages else ThresholdForm
    form = kind(request.POST, request.FILES, instance=row) if request.method == "POST" else kind(instance=row)
    if form.is_bound and form.is_valid():
        with transaction.atomic():
            form.save()
            if form.changed_data:
                changes = audit.changes_of(form)
                audit.record(audit.Actor.of(request), "airline.settings", row.name, airline=row, changes=changes)
                publish([airline_change(each) for each in rollup.airlines(Airline.objects.filter(pk=row.pk))])
        messages.success(request, "Settings saved." if form.changed_data else "No changes to save.")
        return redirect("airline-settings", row.name)
    # Read again: an invalid form has changed `row`.
    shown = visible_or_404(Airline.objects.all(), request.user, pk=row.pk)
    context = {"airline": shown, "form": form, "manages": manages}
    page = render_page(request, "fleet/settings.html", context)
    page.status_code = 400 if form.errors else 200
    return page


def _logo(request: HttpRequest, airline: str) -> bytes:
    row = visible_or_404(Airline.objects.all(), request.user, name=airline)
    png = Logo.objects.filter(airline=row).values_list("png", flat=True).first()
    if png is None:
        raise Http404
    return bytes(png)


def _colour(request: HttpRequest, airline: str) -> str:
    colour = visible_or_404(Airline.objects.all(), request.user, name=airline).colour
    if not colour:
        raise Http404
    return colour


@require_safe
@condition(etag_func=lambda request, airline: f'"{logo_tag_of(_logo(request, airline))}"')
def logo(request: HttpRequest, airline: str) -> HttpResponse:
    return _for_this_user(HttpResponse(_logo(request, airline), content_type="image/png"))


@require_safe
@condition(etag_func=lambda request, airline: f'"{_colour(request, airline)[1:]}"')
def brand(request: HttpRequest, airline: str) -> HttpResponse:
    return _for_this_user(HttpResponse(stylesheet(_colour(request, airline)), content_type="text/css; charset=utf-8"))


def _for_this_user(response: HttpResponse) -> HttpResponse:
    """Let the user's browser cache the response, and revalidate it on each use."""
    patch_cache_control(response, private=True, no_cache=True)
    return response
