"""The workflow of a draft: its five steps with their states, and the one next action. Pure.

A row, its totals and the history come in; steps and sentences go out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from campaigns.drafts.totals import DraftTotals
from campaigns.models import Draft, DraftState
from ifeportal import formatting
from ifeportal.templatetags.formatting import exhibition
from loader.errors import Code

DESCRIBE, SCAN, HASH, CHECK, PUBLISH = "describe", "scan", "hash", "check", "publish"
MUST_SCAN: Final = (Code.OBJECT_CHANGED.value, Code.OBJECT_GONE.value)


class StepState(StrEnum):
    """State of a step, with the word that the page shows."""

    DONE = "done", "Done"
    NEXT = "next", "Next"
    RUNNING = "running", "In progress"
    FAILED = "failed", "Failed"
    BLOCKED = "blocked", "Not yet"

    label: str

    def __new__(cls, value: str, label: str) -> StepState:
        member = str.__new__(cls, value)
        member._value_ = value
        member.label = label
        return member


@dataclass(frozen=True, slots=True)
class Step:
    """A step: `detail` says what is done or what it waits for; `at` and `by` when it was done (UTC) and by whom."""

    key: str
    title: str
    state: StepState
    detail: str
    at: datetime | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """A button: `word` is a key of `requests.REQUESTS`, `save`, or `open` for the link to the campaign."""

    word: str
    label: str


@dataclass(frozen=True, slots=True)
class NextStep:
    """What to do next: a heading, an explanation, and its button. None while a job works."""

    title: str
    text: str
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class DraftFacts:
    """A draft with its totals and the number of its problems, without items that only wait to be hashed.

    `done_by`: the newest author and time of each request, by action of the audit log. `bucket`: the media bucket.
    """

    draft: Draft
    totals: DraftTotals
    problems: int
    done_by: Mapping[str, tuple[str, datetime]]
    bucket: str

    @property
    def prefix(self) -> str:
        return f"{self.draft}/"

    def author(self, *actions: str) -> str:
        """Return who made the newest of these changes."""
        found = [self.done_by[action] for action in actions if action in self.done_by]
        return max(found, key=lambda entry: entry[1])[0] if found else ""

    def failed(self, state: DraftState) -> bool:
        return self.draft.failed_state == state


def workflow(facts: DraftFacts) -> list[Step]:
    """Return the five steps. At most one of them is next, running or failed."""
    steps = [_describe(facts), _scan(facts), _hash(facts), _check(facts), _publish(facts)]
    open_step = next((n for n, step in enumerate(steps) if step.state in (StepState.RUNNING, StepState.FAILED)), None)
    if open_step is None:
        open_step = next((n for n, step in enumerate(steps) if step.state is StepState.NEXT), None)
    return [
        replace(step, state=StepState.BLOCKED) if step.state is StepState.NEXT and n != open_step else step
        for n, step in enumerate(steps)
    ]


def _state(facts: DraftFacts, running: DraftState, *, done: bool) -> StepState | None:
    """Return the state of a step that a job does; None if it waits for something."""
    if facts.draft.state == running:
        return StepState.RUNNING
    if facts.failed(running):
        return StepState.FAILED
    return StepState.DONE if done else None


def _describe(facts: DraftFacts) -> Step:
    draft = facts.draft
    dates = exhibition_text(draft.exhibition_starts, draft.exhibition_ends)
    detail = f"{draft.title or 'No title'}, {dates or 'no dates'}"
    at, by = draft.edited_at or draft.created_at, facts.author("draft.changed", "draft.added")
    return Step(DESCRIBE, "Describe the campaign", StepState.DONE, detail, at, by)


def _scan(facts: DraftFacts) -> Step:
    draft, totals = facts.draft, facts.totals
    found = bool(draft.scanned_at and totals.found)
    state = _state(facts, DraftState.SCANNING, done=found) or StepState.NEXT
    if state is StepState.RUNNING:
        return Step(SCAN, "Scan the bucket", state, "Listing the items")
    if draft.scanned_at is None:
        return Step(SCAN, "Scan the bucket", state, "The bucket has not been scanned yet.")
    detail = f"{formatting.quantity(totals.found, 'item')} found" if found else "No .tgz files found"
    return Step(SCAN, "Scan the bucket", state, detail, draft.scanned_at, facts.author("draft.look", "draft.added"))


def _hash(facts: DraftFacts) -> Step:
    draft, totals = facts.draft, facts.totals
    done = bool(totals.items) and not totals.to_hash
    state = _state(facts, DraftState.HASHING, done=done)
    title, left = "Calculate sizes and hashes", f"{totals.to_hash:,} of {formatting.quantity(totals.items, 'item')}"
    if state is StepState.DONE:
        detail = f"{formatting.quantity(totals.items_done, 'item')}, {formatting.size(totals.bytes_done)}"
        return Step(HASH, title, state, detail, draft.hashed_at, facts.author("draft.hash") if draft.hashed_at else "")
    if state is not None:
        return Step(HASH, title, state, f"{left} left")
    if not totals.found:
        return Step(HASH, title, StepState.BLOCKED, "Waits for a scan that finds items.")
    if not totals.items:
        return Step(HASH, title, StepState.NEXT, "No items are included.")
    return Step(HASH, title, StepState.NEXT, f"{left} to hash, {formatting.size(totals.bytes_to_hash)}")


def _check(facts: DraftFacts) -> Step:
    title = "Check for problems"
    if facts.problems:
        detail = f"{formatting.quantity(facts.problems, 'problem')} to fix"
        return Step(CHECK, title, StepState.NEXT, detail)
    if _is_hashed(facts):
        return Step(CHECK, title, StepState.DONE, "No problems found")
    return Step(CHECK, title, StepState.BLOCKED, "Runs when all items have hashes.")


def _publish(facts: DraftFacts) -> Step:
    draft, title = facts.draft, "Publish"
    state = _state(facts, DraftState.PUBLISHING, done=draft.state == DraftState.PUBLISHED)
    if state is StepState.DONE:
        detail = f"Version {draft.manifest_version}" if draft.manifest_version else "Published without a version"
        return Step(PUBLISH, title, state, detail, draft.published_at, facts.author("draft.published"))
    if draft.state == DraftState.WITHDRAWING:
        return Step(PUBLISH, title, StepState.RUNNING, "Being withdrawn")
    if facts.failed(DraftState.WITHDRAWING):
        return Step(PUBLISH, title, StepState.FAILED, "The withdrawal failed.")
    if state is not None:
        return Step(PUBLISH, title, state, "Nothing was published." if state is StepState.FAILED else "Writing")
    if facts.problems:
        return Step(PUBLISH, title, StepState.BLOCKED, f"Blocked by {formatting.quantity(facts.problems, 'problem')}.")
    if not _is_hashed(facts):
        return Step(PUBLISH, title, StepState.BLOCKED, "Waits for the steps before it.")
    if draft.state == DraftState.WITHDRAWN:
        by = facts.author("draft.withdrawn")
        return Step(PUBLISH, title, StepState.NEXT, "Withdrawn", draft.withdrawn_at, by)
    detail = f"Replaces version {draft.manifest_version}" if draft.manifest_version else "Nothing is published yet."
    return Step(PUBLISH, title, StepState.NEXT, detail)


def _is_hashed(facts: DraftFacts) -> bool:
    return bool(facts.draft.scanned_at and facts.totals.items and not facts.totals.to_hash)


def next_step(facts: DraftFacts) -> NextStep:
    """Return what to do next."""
    draft = facts.draft
    if draft.busy:
        return BUSY[DraftState(draft.state)]
    if draft.state == DraftState.FAILED:
        return _after_failure(facts)
    return _idle(facts)


BUSY: Final = {
    DraftState.SCANNING: NextStep(
        "Scanning the bucket", "A job lists the items and reads campaign.json. Nothing is changed."
    ),
    DraftState.HASHING: NextStep("Calculating hashes", "A job reads each item once. You can close this page."),
    DraftState.PUBLISHING: NextStep("Publishing", "A job writes campaign.json. This cannot be cancelled."),
    DraftState.WITHDRAWING: NextStep("Withdrawing", "A job deletes campaign.json. This cannot be cancelled."),
}
FAILED_TITLES: Final[Mapping[str, str]] = {
    DraftState.SCANNING: "The scan failed",
    DraftState.HASHING: "Hashing failed",
    DraftState.PUBLISHING: "Publishing failed",
    DraftState.WITHDRAWING: "Withdrawing failed",
}


def _after_failure(facts: DraftFacts) -> NextStep:
    """Return the retry of the work that failed; a scan, where only a scan can help."""
    draft, work = facts.draft, facts.draft.failed_state
    title = FAILED_TITLES.get(work, "The last job failed")
    if work == DraftState.SCANNING or draft.error_code in MUST_SCAN or not facts.totals.found:
        return NextStep(title, "", Action("look", "Scan the bucket again"))
    if work == DraftState.WITHDRAWING:
        return NextStep(title, "", Action("withdraw", "Review and withdraw again…"))
    if facts.totals.to_hash:
        return NextStep(title, "", Action("hash", "Resume hashing"))
    return replace(_idle(facts), title=title)


def _idle(facts: DraftFacts) -> NextStep:
    draft, totals = facts.draft, facts.totals
    where = f"{facts.prefix} in the media bucket {facts.bucket}"
    if draft.scanned_at is None:
        text = f"A job lists the .tgz files under {where}. Nothing is changed there."
        return NextStep("Scan the bucket for items", text, Action("look", "Scan the bucket"))
    if not totals.found:
        text = f"There are no .tgz files under {where}. Upload one .tgz file for each item, then scan again."
        return NextStep("Upload the items", text, Action("look", "Scan again"))
    if not totals.items:
        text = "No items are included. Include at least one in the list of items, then save."
        return NextStep("Include items", text, Action("save", "Save and check"))
    if totals.to_hash:
        return _hashing_step(totals)
    if facts.problems:
        text = "Each problem is listed below and shown at its field or item."
        title = f"Fix {formatting.quantity(facts.problems, 'problem')}"
        return NextStep(title, text, Action("save", "Save and check"))
    return _ready(draft)


def _hashing_step(totals: DraftTotals) -> NextStep:
    size = formatting.size(totals.bytes_to_hash)
    text = (
        f"Include and exclude items first. Then a job reads {formatting.quantity(totals.to_hash, 'item')} ({size}) "
        "and calculates the SHA-256 hashes, with which aircraft check what they load."
    )
    return NextStep("Calculate sizes and hashes", text, Action("hash", "Calculate hashes"))


def _ready(draft: Draft) -> NextStep:
    review = Action("publish", "Review and publish…")
    if draft.state == DraftState.PUBLISHED:
        title = f"Version {draft.manifest_version} is published" if draft.manifest_version else "Published"
        text = "Aircraft load it. To prepare the next version, change the fields or items below."
        return NextStep(title, text, Action("open", "See which aircraft have it"))
    if draft.state == DraftState.WITHDRAWN:
        text = "The bucket has no campaign.json, so aircraft do not find the campaign. You can publish it again."
        return NextStep("Withdrawn", text, review)
    text = "No problems were found. The next page shows what changes, before anything is written."
    if draft.manifest_version:
        return NextStep(f"Publish over version {draft.manifest_version}", text, review)
    return NextStep("Publish the campaign", text, review)


def other_actions(facts: DraftFacts, chosen: Action | None) -> list[Action]:
    """Return the actions that are possible besides the chosen next one."""
    draft, totals = facts.draft, facts.totals
    if draft.busy:
        label = CANCEL.get(DraftState(draft.state))
        return [Action("stop", label)] if label else []
    publishable = _is_hashed(facts) and not facts.problems
    possible = (
        (True, Action("look", "Scan the bucket again" if draft.scanned_at else "Scan the bucket")),
        (totals.to_hash, Action("hash", "Calculate hashes")),
        (draft.scanned_at, Action("check", "Check again")),
        (publishable, Action("publish", "Review and publish…")),
        (draft.manifest_etag, Action("withdraw", "Withdraw…")),
    )
    return [action for is_possible, action in possible if is_possible and (not chosen or action.word != chosen.word)]


CANCEL: Final = {DraftState.SCANNING: "Cancel the scan", DraftState.HASHING: "Cancel hashing"}


def exhibition_text(starts: date | None, ends: date | None) -> str:
    """Return the days of an exhibition, for example `1 to 31 Dec 2026`; empty without dates."""
    return exhibition(starts, ends) if starts or ends else ""
