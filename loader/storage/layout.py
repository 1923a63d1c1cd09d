"""Names of the directories under `.loader/` in a content directory. They are on aircraft: values never change."""

from __future__ import annotations

from typing import Final

LOADER_DIR: Final = ".loader"
HELD_DIR: Final = "held"
CAMPAIGNS_DIR: Final = "campaigns"
STAGED_DIR: Final = "beside"
PARTS_DIR: Final = "parts"
HOOKS_DIR: Final = "told"

LINK_SUFFIX: Final = ".link"
