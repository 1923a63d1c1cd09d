"""Routes of content items, libraries and uploads in the API, below `/api/v1/`."""

from campaigns.api import Content
from campaigns.library.api.viewset import LibraryViewSet
from campaigns.uploads.api.viewset import UploadViewSet
from ifeportal.api.routers import EndpointRouter

router = EndpointRouter()
router.register_list("content", Content)
router.register_list("library", LibraryViewSet)
router.register_list("uploads", UploadViewSet)
