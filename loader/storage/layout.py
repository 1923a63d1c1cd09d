"""Names of the directories under `.loader/` in a content directory. They are on aircraft: values never change."""

from __future__ import annotations

from typing import Final

OURS: Final = ".loader"

HELD: Final = "held"

LINK: Final = ".link"

MARKS: Final = "campaigns"

BESIDE: Final = "beside"

PARTS: Final = "parts"


TOLD: Final = "told"
