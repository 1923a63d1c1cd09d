"""URLs of the fleet's pages."""

from django.urls import path

from fleet.pages import audit, charts, freshness, service_status, settings
from fleet.pages.airline.views import airline
from fleet.pages.attention.views import acknowledgement, attention
from fleet.pages.campaign.views import campaign, matrix_json
from fleet.pages.overview.views import fleet
from fleet.pages.tail.views import tail

urlpatterns = [
    path("", fleet, name="fleet"),
    path("freshness/", freshness.freshness, name="freshness"),
    path("attention/", attention, name="attention"),
    path("attention/acknowledgement/", acknowledgement, name="acknowledgement"),
    path("moved/", charts.fleet_received, name="fleet-moved"),
    path("airlines/<str:airline>/moved/", charts.airline_received, name="airline-moved"),
    path("airlines/<str:airline>/tails/<str:tail>/rate/", charts.tail_rate, name="tail-rate"),
    path("airlines/<str:airline>/campaigns/<str:campaign>/readiness/", charts.campaign_readiness, name="readiness"),
    path("airlines/<str:airline>/", airline, name="airline"),
    path("airlines/<str:airline>/tails/<str:tail>/", tail, name="tail"),
    path("airlines/<str:airline>/campaigns/<str:campaign>/", campaign, name="campaign"),
    path("airlines/<str:airline>/campaigns/<str:campaign>/matrix/", matrix_json, name="matrix"),
    path("audit/", audit.audit, name="audit"),
    path("airlines/<str:airline>/audit/", audit.airline_audit, name="airline-audit"),
    path("airlines/<str:airline>/settings/", settings.settings, name="airline-settings"),
    path("airlines/<str:airline>/logo.png", settings.logo, name="airline-logo"),
    path("airlines/<str:airline>/brand.css", settings.brand, name="airline-brand"),
    path("airlines/<str:airline>/tails/<str:tail>/duty/", service_status.duty, name="tail-duty"),
]
