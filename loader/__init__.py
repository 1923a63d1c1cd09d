"""The loader that runs on an aircraft, and the contract of the buckets. Django only in its commands."""

from typing import Final

VERSION: Final = "0.1.0"
