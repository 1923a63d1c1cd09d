"""Static files in production: names contain a content hash, also in imports of JavaScript modules."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """Hash imports between our modules too, so that cached modules of two versions never mix on one page."""

    support_js_module_import_aggregation = True
