"""The addresses of the fleet's pages."""

from django.urls import path

from fleet.views import airlines, attention, campaigns, charts, fleets, tails

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
]
