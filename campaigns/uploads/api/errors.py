"""Errors of the uploads API as problem details, and the exceptions of the domain that become them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rest_framework.exceptions import APIException, ValidationError

from campaigns.uploads.refusals import InvalidField, NotBegun, Refusal, RequestRefused
from loader.errors import WorldError

RETRY_AFTER = 5  # seconds
STORE_AWAY = "The object store is not responding. Try again in a few seconds."
NOT_BEGUN = "The object store has not accepted the upload yet. Try again in a few seconds."
logger = logging.getLogger(__name__)


class Refused(APIException):
    """The request conflicts with the rows (409), or the file is too large (413). `extensions` has the code."""

    def __init__(self, refused: RequestRefused) -> None:
        super().__init__(str(refused))
        self.status_code = 413 if refused.code == Refusal.TOO_LARGE else 409
        self.extensions: dict[str, Any] = {"code": refused.code, **refused.details}


class StoreUnavailable(APIException):
    """The object store failed (503). `wait` becomes Retry-After."""

    status_code = 503
    default_detail = STORE_AWAY
    wait = RETRY_AFTER


@contextmanager
def as_problems() -> Iterator[None]:
    """Raise the exceptions of the domain as those of the API."""
    try:
        yield
    except RequestRefused as error:
        raise Refused(error) from error
    except InvalidField as error:
        raise ValidationError({error.field: [str(error)]}) from error
    except NotBegun as error:
        raise StoreUnavailable(NOT_BEGUN) from error
    except WorldError as error:
        logger.warning("the store failed while a client waited: %s: %s", error.code, error)
        unavailable = StoreUnavailable()
        unavailable.wait = min(max(RETRY_AFTER, math.ceil(error.retry_after or 0)), 600)
        raise unavailable from error
