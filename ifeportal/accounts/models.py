"""Tables of sign-in: counted attempts, and requests for password reset links. No row contains a secret."""

from __future__ import annotations

from django.db import models

from ifeportal.jobs.retries import RetriedQuerySet, RetriedWork, RetryPolicy


class AttemptCount(models.Model):
    """Attempts of one subject within the current period of one limit. Only `attempts` writes it.

    `subject` is a user name, a network or both; `ends_at` (UTC) is the end of the period.
    """

    scope = models.CharField(max_length=20, help_text="Name of the limit.")
    subject = models.CharField(max_length=320, help_text="User, network or device whose attempts are counted.")
    count = models.PositiveIntegerField(default=0)
    ends_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-ends_at"]
        constraints = [models.UniqueConstraint(fields=["scope", "subject"], name="attempt_count_once")]

    def __str__(self) -> str:
        return f"{self.scope}: {self.subject}"


class PasswordResetRequest(RetriedWork):
    """An e-mail address that someone entered as that of a forgotten password, known or not.

    The row is deleted when the links are sent. The links exist only in the e-mail.
    """

    email = models.EmailField()
    requested_at = models.DateTimeField()

    objects = RetriedQuerySet["PasswordResetRequest"].as_manager()
    retry_policy = RetryPolicy(max_attempts=5, first_pause=15.0, longest_pause=300.0)

    class Meta:
        ordering = ["requested_at", "pk"]

    def __str__(self) -> str:
        return f"Request of {self.requested_at:%Y-%m-%d %H:%M} UTC"

    def current_request(self) -> RetriedQuerySet[PasswordResetRequest]:
        """Return this row, unless it was handled in the meantime."""
        return PasswordResetRequest.objects.filter(pk=self.pk)
