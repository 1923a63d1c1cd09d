"""The likely cause of findings about loads, by which they are grouped. Pure.

Many error codes name the faulty part: the object, the aircraft or the link. Otherwise the pattern decides:

- An item that fails on several tails points to the object.
- Several failing items on one tail point to the tail.
- The same code on several tails points to a common cause.
- An item that fails on one tail and is complete on others points to that tail or its link, with any error code.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from ifeportal.formatting import quantity
from loader.errors import Cause, find_error_kind


class CauseKind(StrEnum):
    """Likely cause, the most urgent first."""

    OBJECT = "object"
    TAIL = "tail"
    CODE = "code"
    STALLED = "stalled"
    SILENT = "silent"
    AT_RISK = "at risk"
    CONTRADICTION = "contradiction"


FAILED: Final = "failed"
FAILURES: Final = frozenset({CauseKind.OBJECT, CauseKind.TAIL, CauseKind.CODE})
OF_ONE_CAMPAIGN: Final = frozenset({CauseKind.OBJECT, CauseKind.STALLED, CauseKind.AT_RISK, CauseKind.CONTRADICTION})
DIGEST_LENGTH: Final = 16

# Causes of error codes that name the faulty part. For the others the pattern decides.
OF_THE_OBJECT: Final = frozenset({Cause.OBJECT, Cause.MANIFEST, Cause.POLICY})
OF_THE_TAIL: Final = frozenset({Cause.DISK, Cause.AUTHENTICATION, Cause.HOOK})

STEPS: Final[Mapping[CauseKind, str]] = MappingProxyType(
    {
        CauseKind.OBJECT: "The problem is the content, not the aircraft. "
        "Fix the content once; every aircraft then recovers on its own.",
        CauseKind.TAIL: "The problem is not the content: other aircraft load it. Have this aircraft inspected.",
        CauseKind.CODE: "The same error occurs on several aircraft. Look for what they have in common.",
        CauseKind.STALLED: "The loader is running but receives no data. Check the link at the aircraft's position. If "
        "other aircraft load there, have the loader restarted.",
        CauseKind.SILENT: "Find out where the aircraft is. If it is out of service, set that on its page. "
        "If it is flying, have the power and the link of its loader checked.",
        CauseKind.AT_RISK: "At the observed rate the load completes too late. Give it more ground time on a good link, "
        "pause other campaigns, or load it by hand.",
        CauseKind.CONTRADICTION: "The reports contradict each other, so these figures are not reliable. "
        "Compare the content on the aircraft with the manifest.",
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of an item, or of the load if `content` is empty.

    `reason` is why the load needs attention: `failed`, `stalled`, `silent`, `at risk` or `contradiction`.
    """

    load: int
    airline: str
    tail: str
    campaign: str
    reason: str
    content: str = ""
    code: str = ""
    text: str = ""
    complete_elsewhere: bool = False  # the item is complete on another tail


class CauseKey(NamedTuple):
    """What the findings of one cause have in common. `subject` is the object, tail or code at fault, or empty."""

    kind: CauseKind
    airline: str
    campaign: str
    subject: str
    code: str

    @property
    def digest(self) -> str:
        """The cause in rows and in addresses."""
        return hashlib.sha256("\0".join(self).encode()).hexdigest()[:DIGEST_LENGTH]


@dataclass(frozen=True, slots=True)
class LikelyCause:
    """A cause and the numbers of tails, loads and items that it most likely affects."""

    key: CauseKey
    tails: int
    loads: int
    contents: int

    @property
    def kind(self) -> CauseKind:
        return self.key.kind

    @property
    def airline(self) -> str:
        return self.key.airline

    @property
    def code(self) -> str:
        return self.key.code

    @property
    def subject(self) -> str:
        return self.key.subject

    @property
    def digest(self) -> str:
        return self.key.digest

    @property
    def reason(self) -> str:
        """The reason that its loads are acknowledged for."""
        return FAILED if self.kind in FAILURES else self.kind.value

    @property
    def heading(self) -> str:
        """The problem, with the number of affected loads, tails or items."""
        _, _, campaign, subject, _ = self.key
        tails, loads = quantity(self.tails, "tail"), quantity(self.loads, "load")
        match self.kind:
            case CauseKind.OBJECT:
                return f"{subject} of {campaign} fails on {quantity(self.loads, 'tail')}"
            case CauseKind.TAIL if self.contents:
                return f"{subject}: {quantity(self.contents, 'failed item')}"
            case CauseKind.TAIL:
                return f"{subject}: campaign failed"
            case CauseKind.CODE:
                return f"{subject} on {tails}"
            case CauseKind.STALLED:
                return f"{quantity(self.loads, 'stalled load')} of {campaign}"
            case CauseKind.SILENT:
                return quantity(self.tails, "silent tail")
            case CauseKind.AT_RISK:
                return f"{loads} of {campaign} may miss the start of the exhibition"
            case CauseKind.CONTRADICTION:
                return f"{loads} of {campaign}: {subject}"

    @property
    def next_step(self) -> str:
        """What to do: the advice of the error table, then that of the kind of cause."""
        known = find_error_kind(self.code)
        return f"{known.advice} {STEPS[self.kind]}" if known else STEPS[self.kind]

    @property
    def rank(self) -> tuple[int, int, str, str, str]:
        """The order of causes: by kind, then by number of loads."""
        key = self.key
        return list(CauseKind).index(key.kind), -self.loads, key.airline, key.campaign, key.subject


def causes_of(findings: Sequence[Finding]) -> list[CauseKey]:
    """Return the cause of each finding, in their order. All failures of their airlines must be among them."""
    spread = _spread([finding for finding in findings if finding.reason == FAILED])
    return [
        _key_of_failure(finding, spread) if finding.reason == FAILED else _key_of_flag(finding) for finding in findings
    ]


def decided_elsewhere(findings: Sequence[Finding]) -> list[int]:
    """Return the indexes of the findings whose cause depends on `complete_elsewhere`: few, as it is expensive."""
    failed = [finding for finding in findings if finding.reason == FAILED]
    of_object = _counted(failed, _object, lambda finding: finding.tail)
    return [
        index
        for index, finding in enumerate(findings)
        if finding.content and _cause_of(finding) in OF_THE_OBJECT and of_object[_object(finding)] == 1
    ]


def _key_of_flag(finding: Finding) -> CauseKey:
    """Return the cause of a finding that is no error: by campaign, but silent tails across campaigns."""
    kind = CauseKind(finding.reason)
    campaign = "" if kind is CauseKind.SILENT else finding.campaign
    subject = finding.text if kind is CauseKind.CONTRADICTION else ""
    return CauseKey(kind, finding.airline, campaign, subject, "")


@dataclass(frozen=True, slots=True)
class _Spread:
    """Number of tails by failing item, of items by failing tail, and of tails by code."""

    of_object: Mapping[tuple[str, ...], int]
    of_tail: Mapping[tuple[str, ...], int]
    of_code: Mapping[tuple[str, ...], int]


def _spread(findings: Collection[Finding]) -> _Spread:
    return _Spread(
        _counted(findings, _object, lambda finding: finding.tail),
        _counted(findings, _tail, lambda finding: f"{finding.campaign}/{finding.content}"),
        _counted(findings, _code, lambda finding: finding.tail),
    )


def _counted(
    findings: Collection[Finding], key: Callable[[Finding], tuple[str, ...]], counted: Callable[[Finding], str]
) -> Mapping[tuple[str, ...], int]:
    values: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for finding in findings:
        values[key(finding)].add(counted(finding))
    return {group: len(each) for group, each in values.items()}


def _key_of_failure(finding: Finding, spread: _Spread) -> CauseKey:
    """Group a failure by its code if that names the faulty part, else by the pattern."""
    of_object, of_tail = spread.of_object[_object(finding)], spread.of_tail[_tail(finding)]
    of_code = spread.of_code[_code(finding)] if finding.code else 1
    if _is_of_the_object(finding, of_object, of_tail):
        subject = finding.content or "campaign.json"
        return CauseKey(CauseKind.OBJECT, finding.airline, finding.campaign, subject, finding.code)
    if of_code > 1 and of_code >= of_tail:
        return CauseKey(CauseKind.CODE, finding.airline, "", finding.code, finding.code)
    return CauseKey(CauseKind.TAIL, finding.airline, "", finding.tail, finding.code)


def _is_of_the_object(finding: Finding, of_object: int, of_tail: int) -> bool:
    """Return False for an item that is complete on other tails, unless it fails on several."""
    cause = _cause_of(finding)
    if cause in OF_THE_OBJECT:
        return of_object > 1 or not finding.complete_elsewhere
    return cause not in OF_THE_TAIL and 1 < of_object >= of_tail


def _cause_of(finding: Finding) -> Cause | None:
    kind = find_error_kind(finding.code)
    return kind.cause if kind else None


def _object(finding: Finding) -> tuple[str, ...]:
    return finding.airline, finding.campaign, finding.content, finding.code


def _tail(finding: Finding) -> tuple[str, ...]:
    return finding.airline, finding.tail, finding.code


def _code(finding: Finding) -> tuple[str, ...]:
    return finding.airline, finding.code
