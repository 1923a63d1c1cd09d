"""Routes of content items in the API, below `/api/v1/`."""

from campaigns.api import Content
from ifeportal.api.routers import EndpointRouter

router = EndpointRouter()
router.register_list("content", Content)
