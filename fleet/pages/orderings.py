"""Orderings of loads and transfers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from django.db.models import Case, F, FloatField, Q, Value, When
from django.db.models.expressions import Expression
from django.db.models.functions import Cast, NullIf

from fleet.choices import Status
from fleet.state.precedence import IS_LOADING, LOAD_RANK, TRANSFER_RANK

_SHARE = Cast("bytes_done", FloatField()) / NullIf(Cast("bytes_total", FloatField()), Value(0.0))

_LEFT = Cast(F("bytes_total") - F("bytes_done"), FloatField()) / NullIf(Cast("rate_bps", FloatField()), Value(0.0))

_PROGRESS_ORDERINGS: Final[Mapping[str, Expression | F]] = MappingProxyType(
    {
        "percent": Case(When(status=Status.COMPLETE, then=Value(1.0)), default=_SHARE),
        "bytes": F("bytes_done"),
        "rate": F("rate_bps"),
        "eta": Case(When(IS_LOADING & Q(stalled=False), then=_LEFT)),
        "as_of": F("as_of"),
    }
)

# Sort expressions by the value of the `sort` parameter.
TRANSFER_ORDERINGS: Final[Mapping[str, Expression | F]] = MappingProxyType(
    {"status": TRANSFER_RANK, **_PROGRESS_ORDERINGS}
)

LOAD_ORDERINGS: Final[Mapping[str, Expression | F]] = MappingProxyType(
    {"status": LOAD_RANK, **_PROGRESS_ORDERINGS, "items": F("items_done")}
)
