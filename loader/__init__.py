"""The contract both sides obey, and the loader that runs aboard. No Django here but in its commands."""

from typing import Final

VERSION: Final = "0.1.0"
