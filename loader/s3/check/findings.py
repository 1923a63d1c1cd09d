"""Results of the checks of a store, as lines for people and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

from loader.errors import ERRORS, Code, WorldError
from loader.frozen import frozen
from loader.s3.errors import NoSuchBucket

# The advice of `loader.errors` is about loading.
_ADVICE: Final = {
    Code.CREDENTIALS: "Correct the access key and its secret.",
    Code.FORBIDDEN: "Grant the right to these credentials.",
    Code.INTERNAL: "",
    Code.NETWORK: "Check the link, name resolution and the endpoint's address.",
    Code.OBJECT_GONE: "",
    Code.THROTTLED: "Try again later.",
    Code.TIMEOUT: "Check the link.",
}


class Outcome(StrEnum):
    """OK; WARNING: works with the limitation that the finding names; MISSING: needed; SKIPPED: not tested."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"
    SKIPPED = "skipped"


@frozen
class Finding:
    """The result of one check: what the store does, and in `meaning` what that means for the user; empty if nothing."""

    bucket: str
    check: str
    outcome: Outcome
    text: str
    meaning: str = ""

    def line(self) -> str:
        """Return the finding as one line."""
        return f"{self.outcome:<8} {self.bucket:<7} {self.check:<12} {self.text} {self.meaning}".rstrip()


@frozen
class StoreReport:
    """All findings for `user`, "loader" or "portal". `is_complete`: neither the time limit nor a signal ended it."""

    user: str
    findings: Sequence[Finding]
    is_complete: bool = True

    @property
    def missing(self) -> list[Finding]:
        """The findings that keep the program from working."""
        return [finding for finding in self.findings if finding.outcome == Outcome.MISSING]

    def lines(self) -> Iterator[str]:
        """Yield one line per finding, then a summary."""
        yield from (finding.line() for finding in self.findings)
        warnings = sum(finding.outcome == Outcome.WARNING for finding in self.findings)
        limited = f" {_count(warnings, 'thing works', 'things work')} with limitations." if warnings else ""
        if self.missing:
            what = _count(len(self.missing), "thing", "things")
            yield f"{what} that the {self.user} needs {'is' if len(self.missing) == 1 else 'are'} missing.{limited}"
        elif self.is_complete:
            yield f"The stores have everything that the {self.user} needs.{limited}"
        else:
            yield f"The check was not completed. Everything tested until then works.{limited}"

    def as_json(self) -> dict[str, object]:
        """Return the report as one JSON object."""
        return {
            "user": self.user,
            "ok": not self.missing,
            "complete": self.is_complete,
            "findings": [
                {
                    "bucket": finding.bucket,
                    "check": finding.check,
                    "outcome": str(finding.outcome),
                    "text": finding.text,
                    "meaning": finding.meaning,
                }
                for finding in self.findings
            ],
        }


def describe_error(error: WorldError) -> str:
    """Return the error and the next step as two sentences."""
    advice = _ADVICE.get(error.code, ERRORS[error.code].advice)
    if isinstance(error, NoSuchBucket):
        advice = "Create the bucket, or correct its name."
    return f"{str(error).rstrip('.')}. {advice}".rstrip()


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
