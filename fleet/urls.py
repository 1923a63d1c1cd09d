"""The addresses of the fleet's pages."""

from django.urls import path

from fleet import views

urlpatterns = [
    path("", views.fleet, name="fleet"),
    path("freshness/", views.freshness, name="freshness"),
    path("airlines/<str:airline>/", views.airline, name="airline"),
    path("airlines/<str:airline>/tails/<str:tail>/", views.tail, name="tail"),
    path("airlines/<str:airline>/campaigns/<str:campaign>/", views.campaign, name="campaign"),
]
