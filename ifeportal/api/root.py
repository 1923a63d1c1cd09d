"""The API's root, its documentation page, and the 404 for any other address below /api/."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from csp.decorators import csp_update
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.decorators import method_decorator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class ApiRootView(APIView):
    """Addresses of all endpoints. `url_names`, which the URLconf passes, is {endpoint: name of its URL}."""

    url_names: Mapping[str, str] = MappingProxyType({})

    @extend_schema(
        summary="List the endpoints",
        tags=["api"],
        responses={200: {"type": "object", "additionalProperties": {"type": "string", "format": "uri"}}},
    )
    def get(self, request: Request) -> Response:
        """Return the address of each endpoint by its name."""
        return Response({part: request.build_absolute_uri(reverse(name)) for part, name in self.url_names.items()})


@extend_schema(exclude=True)
class NotFoundView(APIView):
    """Any other address below /api/: 404, or 401 without credentials."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raises NotAuthenticated, Throttled, Http404."""
        super().initial(request, *args, **kwargs)
        raise Http404


# Its style sheet has icons at data: addresses; the rest of the policy stays as it is.
@method_decorator(csp_update({"img-src": ["'self'", "data:"]}), name="dispatch")
class DocsView(SpectacularSwaggerSplitView):
    """Interactive documentation of the API. Everything on the page comes from the portal, no script is inline."""

    template_name = "api/docs.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Redirect a visitor to the sign-in page; a program would get a 401."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return super().dispatch(request, *args, **kwargs)
