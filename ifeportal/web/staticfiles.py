"""Storage of static files in production: names contain a content hash, also in imports of JavaScript modules."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """Imports between our modules carry hashes too: no page mixes the modules of two versions while caches last."""

    support_js_module_import_aggregation = True
