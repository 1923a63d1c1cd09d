"""Choices of the fleet's columns: status, state, service status, inconsistency, verification.

No models: every package may import them.
"""

from __future__ import annotations

from django.db import models


class Status(models.TextChoices):
    """The contract's words; `stalled` is a flag on top."""

    PENDING = "pending", "pending"
    LOADING = "loading", "loading"
    COMPLETE = "complete", "complete"
    FAILED = "failed", "failed"
    DELETED = "deleted", "deleted"


class State(models.TextChoices):
    """The state of a row in pages, API, exports and metrics: its status, or a flag on top of `loading`.

    The most severe comes first. `fleet.state.precedence.state_of` decides it.
    """

    FAILED = "failed", "failed"
    SILENT = "silent", "silent"
    STALLED = "stalled", "stalled"
    CONTRADICTION = "contradiction", "contradiction"
    WAITING = "waiting", "waiting"
    RESTARTED = "restarted", "restarted"
    LOADING = "loading", "loading"
    PENDING = "pending", "pending"
    COMPLETE = "complete", "complete"
    DELETED = "deleted", "deleted"


class ServiceStatus(models.TextChoices):
    """Whether a tail is in service. Stored and retired tails are left out of every total and percentage."""

    ACTIVE = "active", "in service"
    STORED = "stored", "stored"
    RETIRED = "retired", "retired"


class Inconsistency(models.TextChoices):
    """Contradictions in what an aircraft reports of a load."""

    NONE = "", "none"
    OVERSIZED = "oversized", "reports more bytes than an item has"
    ERROR_LEFT = "error left", "an error remains after its item succeeded"
    MANIFEST_CHANGED = "manifest changed", "the manifest changed while it was loading"


class Verification(models.TextChoices):
    """How much of what a load claims to hold is proven."""

    NONE = "", "claimed"
    SIZE = "size", "size-checked"
    HASH = "hash", "hash-verified"
    SIGNED = "signed", "signed"
