"""Addresses of content items in the API, below `/api/v1/`."""

from rest_framework.routers import SimpleRouter

from campaigns.api import Content

router = SimpleRouter()
router.register("content", Content, basename="api-content")
urlpatterns = router.urls
