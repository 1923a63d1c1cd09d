"""The addresses of the status bucket's part of the API, below `/api/v1/`."""

from rest_framework.routers import SimpleRouter

from fleet.api import Airlines, Anomalies, Campaigns, Loads, Tails, Transfers

router = SimpleRouter()
router.register("airlines", Airlines, basename="api-airlines")
router.register("anomalies", Anomalies, basename="api-anomalies")
router.register("campaigns", Campaigns, basename="api-campaigns")
router.register("loads", Loads, basename="api-loads")
router.register("tails", Tails, basename="api-tails")
router.register("transfers", Transfers, basename="api-transfers")
urlpatterns = router.urls
