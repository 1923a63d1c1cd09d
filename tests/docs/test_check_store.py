"""docs/check_store.md matches the code: every check, outcome and exit code, and what is found of each store."""

from __future__ import annotations

import re
from dataclasses import replace

from ifeportal.management.commands.check_store import PLANS
from loader.s3.check.findings import Outcome
from loader.s3.check.probe import StoreProbe
from loader.s3.check.reading import ReadChecks
from loader.s3.check.writing import WriteChecks
from loader.s3.client import S3Bucket
from loader.store_check import loader_plans
from tests.docs.test_documents import rows
from tests.support.store_profiles import PROFILES

DOCUMENT = "docs/check_store.md"


def test_every_check_and_outcome_is_documented() -> None:
    probe = StoreProbe(S3Bucket("b", endpoint="http://127.0.0.1:9").transport)  # sends nothing
    plans = (*loader_plans("A", "T"), replace(PLANS[0], origin="https://ife.example.org"), *PLANS[1:])
    checks = [
        check for plan in plans for check in (*ReadChecks(probe, plan).checks(), *WriteChecks(probe, plan).checks())
    ]
    names = {check.name for check in checks} | {"clean-up", "others"}
    table = rows(DOCUMENT)
    assert names | {str(outcome) for outcome in Outcome} | {"0", "1", "2", "75"} <= set(table)


def test_every_store_is_documented_with_its_warnings() -> None:
    table = rows(DOCUMENT)
    for profile in PROFILES:
        warned = {each.check for each in profile.findings if each.outcome != "ok"}
        assert set(re.findall(r"`([^`]+)`", table[profile.name][0])) == warned, profile.name
