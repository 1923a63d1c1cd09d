"""Template tag of the style sheets of every page."""

from __future__ import annotations

from django import template
from django.contrib.staticfiles.storage import staticfiles_storage
from django.templatetags.static import static
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from ifeportal.web.staticfiles import BUNDLE, SHARED_STYLES, HashedStaticFiles

register = template.Library()


@register.simple_tag
def shared_styles() -> SafeString:
    """Render the links: to one file in production, to each source file in development."""
    names = (BUNDLE,) if isinstance(staticfiles_storage, HashedStaticFiles) else SHARED_STYLES
    return format_html_join("\n  ", '<link rel="stylesheet" href="{}">', ((static(name),) for name in names))
