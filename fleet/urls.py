"""The addresses of the fleet's pages."""

from django.urls import path

from fleet.views import airlines, attention, audits, campaigns, charts, duties, fleets, settings, tails

urlpatterns = [
    path("", fleets.fleet, name="fleet"),
    path("freshness/", fleets.freshness, name="freshness"),
    path("attention/", attention.attention, name="attention"),
    path("attention/acknowledgement/", attention.acknowledgement, name="acknowledgement"),
    path("moved/", charts.fleet_moved, name="fleet-moved"),
    path("airlines/<str:airline>/moved/", charts.airline_moved, name="airline-moved"),
    path("airlines/<str:airline>/tails/<str:tail>/rate/", charts.tail_rate, name="tail-rate"),
    path("airlines/<str:airline>/campaigns/<str:campaign>/readiness/", charts.campaign_readiness, name="readiness"),
    path("airlines/<str:airline>/", airlines.airline, name="airline"),
    path("airlines/<str:airline>/tails/<str:tail>/", tails.tail, name="tail"),
    path("airlines/<str:airline>/campaigns/<str:campaign>/", campaigns.campaign, name="campaign"),
    path("airlines/<str:airline>/campaigns/<str:campaign>/matrix/", campaigns.matrix_json, name="matrix"),
    path("audit/", audits.audit, name="audit"),
    path("airlines/<str:airline>/audit/", audits.airline_audit, name="airline-audit"),
    path("airlines/<str:airline>/settings/", settings.settings, name="airline-settings"),
    path("airlines/<str:airline>/logo.png", settings.logo, name="airline-logo"),
    path("airlines/<str:airline>/brand.css", settings.brand, name="airline-brand"),
    path("airlines/<str:airline>/tails/<str:tail>/duty/", duties.duty, name="tail-duty"),
]
