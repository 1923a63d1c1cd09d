"""The tests that docs/security.md names for the requirements it meets exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_the_requirements_name_is_there() -> None:
    rows = re.findall(r"^\| [\d., ]+: .*\|$", (ROOT / "docs/security.md").read_text(), re.M)
    named = [re.findall(r"`(test_\w+)`", row) for row in rows]
    assert len(rows) > 10
    assert all(named)
    source = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for names in named for name in names if f"def {name}(" not in source] == []
