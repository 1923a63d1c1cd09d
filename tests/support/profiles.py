"""Size of the long seeded tests, set by TEST_PROFILE: `quick` (the default) or `thorough`.

Every test has the same assertions in both. The quick profile runs fewer examples and rounds, so that `make test` takes
minutes. `make test-thorough` runs all of them, and the tests marked `thorough`.
"""

from __future__ import annotations

import os
from typing import Final

QUICK: Final = "quick"
THOROUGH: Final = "thorough"
PROFILE: Final = os.environ.get("TEST_PROFILE", QUICK)
HYPOTHESIS_EXAMPLES: Final = {QUICK: 40, THOROUGH: 200}  # for properties without their own number

if PROFILE not in HYPOTHESIS_EXAMPLES:
    raise RuntimeError(f"TEST_PROFILE is {PROFILE!r}, not one of {', '.join(HYPOTHESIS_EXAMPLES)}")


def scaled(thorough: int, *, quick: int) -> int:
    """Return how many examples or rounds to run."""
    return thorough if PROFILE == THOROUGH else quick
