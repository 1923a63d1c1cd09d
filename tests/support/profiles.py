"""How much of the long seeded work a run of the suite does: TEST_PROFILE, `quick` (the default) or `thorough`.

Every test runs the same assertions in both. The quick profile draws fewer examples and lives fewer lives, so that
`make test` answers within minutes; `make test-thorough` draws them all, and adds the tests marked `thorough`.
"""

from __future__ import annotations

import os
from typing import Final

QUICK: Final = "quick"
THOROUGH: Final = "thorough"
PROFILE: Final = os.environ.get("TEST_PROFILE", QUICK)
HYPOTHESIS_EXAMPLES: Final = {QUICK: 40, THOROUGH: 200}  # of properties that do not say how many they need

if PROFILE not in HYPOTHESIS_EXAMPLES:
    raise RuntimeError(f"TEST_PROFILE is {PROFILE!r}, not one of {', '.join(HYPOTHESIS_EXAMPLES)}")


def scaled(thorough: int, *, quick: int) -> int:
    """Return how many examples, lives or rounds this run does."""
    return thorough if PROFILE == THOROUGH else quick
