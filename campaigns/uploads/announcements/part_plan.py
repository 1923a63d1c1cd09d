"""The parts of an upload: how many, and how long each is. Pure; sizes in bytes.

A part must be large enough that MOST_PARTS suffice: stores allow 10,000, and some room is left.
"""

from __future__ import annotations

from typing import Final

from loader.contract.units import MIB
from loader.frozen import frozen
from loader.s3.part_plan import MAX_PART_SIZE

SMALLEST_PART: Final = 16 * MIB
MOST_PARTS: Final = 9_000
LARGEST_OBJECT: Final = 5 * 2**40  # of S3


@frozen
class PartPlan:
    """`total` parts of `part_size` bytes, the last of which may be shorter."""

    size: int
    part_size: int
    total: int

    def length(self, number: int) -> int:
        """Return the size of part `number`. Raises ValueError unless the upload has such a part."""
        if not 1 <= number <= self.total:
            raise ValueError(f"The upload has parts 1 to {self.total:,}.")
        return min(self.part_size, self.size - (number - 1) * self.part_size)


def plan_parts(size: int) -> PartPlan:
    """Return the parts of a file of `size` bytes. Raises ValueError if it is too large for any plan."""
    needed = -(-size // MOST_PARTS)
    part_size = max(SMALLEST_PART, -(-needed // MIB) * MIB)
    if part_size > MAX_PART_SIZE:
        raise ValueError(f"A file of {size:,} bytes cannot be uploaded in parts.")
    return PartPlan(size, part_size, max(1, -(-size // part_size)))
