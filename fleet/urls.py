"""The addresses of the fleet's pages."""

from django.urls import path

from fleet.views import airlines, attention, campaigns, fleets, tails

urlpatterns = [
    path("", fleets.fleet, name="fleet"),
    path("freshness/", fleets.freshness, name="freshness"),
    path("attention/", attention.attention, name="attention"),
    path("attention/acknowledgement/", attention.acknowledgement, name="acknowledgement"),
    path("airlines/<str:airline>/", airlines.airline, name="airline"),
    path("airlines/<str:airline>/tails/<str:tail>/", tails.tail, name="tail"),
    path("airlines/<str:airline>/campaigns/<str:campaign>/", campaigns.campaign, name="campaign"),
]
