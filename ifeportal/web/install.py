"""What makes the portal installable: its web app manifest, its service worker, and the page shown without a network.

All three are the same for everyone and need no sign-in. The service worker stores public static files and the offline
page only: never a page, an API response or anything else that depends on the user.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from django.contrib.auth.decorators import login_not_required
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ifeportal.web.staticfiles import BUNDLE, SHARED_STYLES, HashedStaticFiles

NAME: Final = "ifeportal"
LONG_NAME: Final = "In-flight entertainment portal"
DARK: Final = "#151a20"  # the surface in css/tokens.css
ICONS: Final = (
    ("img/icon-192.png", "192x192", "any"),
    ("img/icon-512.png", "512x512", "any"),
    ("img/maskable-512.png", "512x512", "maskable"),
)
WORKER: Final = "js/service-worker.js"


@login_not_required
@never_cache
@require_safe
def manifest(request: HttpRequest) -> HttpResponse:
    """Return the web app manifest."""
    body: dict[str, Any] = {
        "id": reverse("fleet"),
        "name": LONG_NAME,
        "short_name": NAME,
        "description": "Content for aircraft: upload it, publish campaigns, see what each aircraft has loaded.",
        "lang": "en-GB",
        "start_url": reverse("fleet"),
        "scope": "/",
        "display": "standalone",
        "theme_color": DARK,
        "background_color": DARK,
        "icons": [
            {"src": static(name), "sizes": sizes, "type": "image/png", "purpose": purpose}
            for name, sizes, purpose in ICONS
        ],
        "shortcuts": [{"name": "Uploads", "url": reverse("uploads")}],
    }
    return JsonResponse(body, content_type="application/manifest+json")


@login_not_required
@never_cache
@require_safe
def service_worker(request: HttpRequest) -> HttpResponse:
    """Return the service worker of the whole site: its source, after the names of what it may store."""
    return HttpResponse(_worker_script(), content_type="text/javascript; charset=utf-8")


@login_not_required
@never_cache
@require_safe
def offline(request: HttpRequest) -> HttpResponse:
    """Show that the network is away. The service worker stores this page, so it has nothing of a user."""
    return render(request, "offline.html")


@cache
def _worker_script() -> str:
    hashed = isinstance(staticfiles_storage, HashedStaticFiles)
    styles = [static(name) for name in ((BUNDLE,) if hashed else SHARED_STYLES)]
    setup = {
        "offline": reverse("offline"),
        "files": [*styles, static("img/favicon.svg")],
        "static": static("").rpartition("/")[0] + "/",
        "hashed": hashed,  # only a name with a content hash always means the same bytes
    }
    source = _source()
    version = hashlib.sha256((json.dumps(setup) + source).encode()).hexdigest()[:16]
    return f"const SETUP = {json.dumps({**setup, 'version': version})};\n{source}"


def _source() -> str:
    found = finders.find(WORKER)
    path_of_source = Path(found) if found else Path(staticfiles_storage.path(WORKER))
    return path_of_source.read_text()


urlpatterns = [
    path("manifest.webmanifest", manifest, name="manifest"),
    path("sw.js", service_worker, name="service-worker"),
    path("offline/", offline, name="offline"),
]
