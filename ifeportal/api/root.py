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
    """Where everything is. `url_names`, which the URLconf gives, is {endpoint: name of its URL}."""

    url_names: Mapping[str, str] = MappingProxyType({})

    @extend_schema(
        summary="List the parts of the API",
        tags=["api"],
        responses={200: {"type": "object", "additionalProperties": {"type": "string", "format": "uri"}}},
    )
    def get(self, request: Request) -> Response:
        """Name and address of every part."""
        return Response({part: request.build_absolute_uri(reverse(name)) for part, name in self.url_names.items()})


@extend_schema(exclude=True)
class NotFoundView(APIView):
    """Whatever else is asked for below /api/: 404, and 401 to nobody."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raises NotAuthenticated, Throttled, Http404."""
        super().initial(request, *args, **kwargs)
        raise Http404


# Its stylesheet draws arrows and icons from data: addresses; nothing else of the policy has to give way.
@method_decorator(csp_update({"img-src": ["'self'", "data:"]}), name="dispatch")
class DocsView(SpectacularSwaggerSplitView):
    """The schema to read and try out; nothing on the page comes from elsewhere and no script is inline."""

    template_name = "api/docs.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """A person who has not signed in is asked to, rather than shown a 401 as a program would be."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return super().dispatch(request, *args, **kwargs)
