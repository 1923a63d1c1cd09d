"""Static files in production: names contain a content hash, also in imports of JavaScript modules.

The style sheets of every page are one file there, because a page is first painted when the last of them has arrived.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from whitenoise.storage import CompressedManifestStaticFilesStorage

SHARED_STYLES: Final = (
    "css/tokens.css",
    "css/base.css",
    "css/components.css",
    "vendor/uplot-1.6.32/uPlot.min.css",
    "css/charts.css",
    "css/print.css",
)
BUNDLE: Final = "css/portal.css"  # all of them, written by collectstatic


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """Hash imports between our modules too, so that cached modules of two versions never mix on one page."""

    support_js_module_import_aggregation = True

    def post_process(self, paths: Mapping[str, Any], dry_run: bool = False, **options: Any) -> Iterator[Any]:
        """Write the bundle, then process all files. `collectstatic` calls this."""
        if not dry_run and all(name in paths for name in SHARED_STYLES):
            sheets = [Path(self.path(name)).read_text() for name in SHARED_STYLES]
            Path(self.path(BUNDLE)).write_text("\n".join(sheets))
            paths = {**paths, BUNDLE: (self, BUNDLE)}
        yield from super().post_process(paths, dry_run=dry_run, **options)
