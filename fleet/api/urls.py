"""URLs of the fleet's API, below `/api/v1/`."""

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
from ifeportal.api.routers import EndpointRouter

router = EndpointRouter()
router.register_view("attention", AttentionView)
router.register_list("acknowledgements", AcknowledgementViewSet)
router.register_list("airlines", AirlineViewSet)
router.register_list("anomalies", AnomalyViewSet)
router.register_list("campaigns", CampaignViewSet)
router.register_list("events", EventViewSet)
router.register_list("loads", LoadViewSet)
router.register_list("moved", ThroughputViewSet)
router.register_list("tails", TailViewSet)
router.register_list("transfers", TransferViewSet)
router.register_list("usage", UsageViewSet)
