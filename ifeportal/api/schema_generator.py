"""Generates the OpenAPI schema once per process: it depends on the code alone, and takes longer than most requests."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.utils.translation import get_language
from drf_spectacular.generators import SchemaGenerator


class CachedSchemaGenerator(SchemaGenerator):
    """Serves the schema from memory, unless the request asks for a version or another language."""

    _generated: ClassVar[dict[object, dict[str, Any]]] = {}  # by URLconf

    def get_schema(self, request: Any = None, public: bool = False) -> dict[str, Any]:
        """Return the schema, which the caller must not change. Only a public one is the same for all users."""
        if not public or self.patterns or self.api_version or get_language() != settings.LANGUAGE_CODE:
            return self._generate(request, public)
        if self.urlconf not in self._generated:
            self._generated[self.urlconf] = self._generate(request, public)
        return self._generated[self.urlconf]

    def _generate(self, request: Any, public: bool) -> dict[str, Any]:
        generated: dict[str, Any] = super().get_schema(request=request, public=public)  # type: ignore[no-untyped-call]
        return generated
