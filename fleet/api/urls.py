"""The addresses of the status bucket's part of the API, below `/api/v1/`."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from fleet.api.acknowledgements import Acknowledgements
from fleet.api.activity import MovedSlots, UsageDays
from fleet.api.attention import Attention
from fleet.api.events import Events
from fleet.api.viewsets import Airlines, Anomalies, Campaigns, Loads, Tails, Transfers

router = SimpleRouter()
router.register("acknowledgements", Acknowledgements, basename="api-acknowledgements")
router.register("airlines", Airlines, basename="api-airlines")
router.register("anomalies", Anomalies, basename="api-anomalies")
router.register("campaigns", Campaigns, basename="api-campaigns")
router.register("events", Events, basename="api-events")
router.register("loads", Loads, basename="api-loads")
router.register("moved", MovedSlots, basename="api-moved")
router.register("tails", Tails, basename="api-tails")
router.register("transfers", Transfers, basename="api-transfers")
router.register("usage", UsageDays, basename="api-usage")
urlpatterns = [path("attention/", Attention.as_view(), name="api-attention"), *router.urls]
