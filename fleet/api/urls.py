"""Addresses of the fleet's part of the API, below `/api/v1/`."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from fleet.api.acknowledgements import AcknowledgementViewSet
from fleet.api.activity import ThroughputViewSet, UsageViewSet
from fleet.api.attention import AttentionView
from fleet.api.events import EventViewSet
from fleet.api.viewsets import (
    AirlineViewSet,
    AnomalyViewSet,
    CampaignViewSet,
    LoadViewSet,
    TailViewSet,
    TransferViewSet,
)

router = SimpleRouter()
router.register("acknowledgements", AcknowledgementViewSet, basename="api-acknowledgements")
router.register("airlines", AirlineViewSet, basename="api-airlines")
router.register("anomalies", AnomalyViewSet, basename="api-anomalies")
router.register("campaigns", CampaignViewSet, basename="api-campaigns")
router.register("events", EventViewSet, basename="api-events")
router.register("loads", LoadViewSet, basename="api-loads")
router.register("moved", ThroughputViewSet, basename="api-moved")
router.register("tails", TailViewSet, basename="api-tails")
router.register("transfers", TransferViewSet, basename="api-transfers")
router.register("usage", UsageViewSet, basename="api-usage")
urlpatterns = [path("attention/", AttentionView.as_view(), name="api-attention"), *router.urls]
