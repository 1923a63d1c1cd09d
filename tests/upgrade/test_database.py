"""The current portal migrates the database of an earlier one: no row is lost, and everything is shown.

The dumps were created by an earlier commit (`tests.upgrade.make_database`). The checks use commands, addresses and
tables, as operators and programs know them.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.cookiejar import Cookie
from pathlib import Path
from typing import Any

import pytest

from tests.support import portal_forks
from tests.upgrade.databases import Rows, empty_database
from tests.upgrade.ground import (
    FIXTURES,
    LOOPBACK,
    MIB,
    NEWEST,
    SESSION,
    TOKEN,
    fill,
    portal_environment,
    store,
)
from tests.upgrade.portal import Program, Visitor, portal

pytestmark = [pytest.mark.processes, pytest.mark.both_databases]

Tables = dict[str, Rows]
# A migration may rename these columns only; their values must remain.
RENAMED = {
    "campaigns_draft": {"looked_at"},
    "campaigns_draftitem": {"chosen", "listed", "waits", "aside", "fault", "problem"},
}
# These values may change.
REWORDED = {("campaigns_draft", "state"): {"looking"}, ("django_content_type", "model"): {"moved"}}
# The migration encrypts the secrets in these.
ENCRYPTED = {("mfa_authenticator", "data")}
# The operation of a draft has these since: of open work and of work that failed.
MOVED = {
    "campaigns_draft": {
        *("advice", "attempts", "error", "error_code", "next_try_at", "rate_bps", "requested_by_id"),
        *("asked_at", "turn_at"),
    },
    "campaigns_draftitem": {"attempts", "next_try_at"},
}
# Operations do the work of these jobs.
REMOVED_JOBS = {"run_errands", "hash_items"}
# New apps and migrations add rows here; all other tables keep exactly the earlier rows.
GROWING = {"django_migrations", "django_content_type", "auth_permission"}
READ_RIGHTS = """
import json
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
olga = get_user_model().objects.get(username="olga")
lost = [str(found.natural_key()) for found in ContentType.objects.all() if found.model_class() is None]
print(json.dumps({"rights": sorted(olga.get_all_permissions()), "lost": lost}))
"""


@dataclass
class Upgraded:
    """The tables before and after the migration, and the settings of a portal that uses them."""

    before: Tables
    after: Tables
    settings: dict[str, str]


def manage(environment: Mapping[str, str], *arguments: str) -> str:
    """Run a command and return its output."""
    done = portal_forks.run([sys.executable, "manage.py", *arguments], env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("upgrade")


@pytest.fixture(scope="module")
def upgraded(folder: Path) -> Iterator[Upgraded]:
    with empty_database(folder) as database, store() as environment:
        database.load(FIXTURES / f"database.{database.kind}.sql.gz")
        before, settings = database.tables(), portal_environment(database.url, environment)
        manage(settings, "migrate", "--verbosity", "0")
        fill(environment, NEWEST)
        yield Upgraded(before, database.tables(), settings)


@pytest.fixture(scope="module")
def address(upgraded: Upgraded, folder: Path) -> Iterator[str]:
    with portal(upgraded.settings, folder / "portal.log") as address:
        yield address


@pytest.fixture
def visitor(address: str) -> Visitor:
    return Visitor(address)


@pytest.fixture
def program(address: str) -> Program:
    """Return a program with a token created before the upgrade."""
    return Program(address, TOKEN)


# The tables.


@pytest.mark.slow("its set-up migrates the database of an earlier release")
def test_every_table_of_before_is_there_under_its_name_with_its_rows(upgraded: Upgraded) -> None:
    assert all(upgraded.before.values()), "the fixture has an empty table"
    assert upgraded.after.keys() >= upgraded.before.keys()
    for table, rows in upgraded.before.items():
        after = upgraded.after[table]
        kept = {key for key, row in rows.items() if not is_removed(table, row)}
        assert after.keys() >= kept if table in GROWING else after.keys() == kept, table


def is_removed(table: str, row: dict[str, Any]) -> bool:
    return table == "ifeportal_job" and row["name"] in REMOVED_JOBS


def test_no_column_of_a_row_changes_but_those_of_drafts_that_are_renamed(upgraded: Upgraded) -> None:
    for table, rows in upgraded.before.items():
        for key, row in rows.items():
            if not is_removed(table, row):
                assert_same_row(table, row, upgraded.after[table][key])


def assert_same_row(table: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    gone = before.keys() - after.keys() - MOVED.get(table, set())
    assert gone <= RENAMED.get(table, set()), table
    for column in before.keys() & after.keys():
        changed = before[column] != after[column]
        if changed and (table, column) in ENCRYPTED:
            assert "fernet:" in str(after[column])
            continue
        assert not changed or before[column] in REWORDED.get((table, column), ()), (table, column, before, after)
    new = Counter(repr(after[column]) for column in after.keys() - before.keys())
    assert Counter(repr(before[column]) for column in gone) <= new, (table, before, after)


def test_open_and_failed_work_on_drafts_goes_on_as_operations(upgraded: Upgraded) -> None:
    drafts = {row["state"]: row for row in upgraded.after["campaigns_draft"].values()}
    old = {row["state"]: row for row in upgraded.before["campaigns_draft"].values()}
    found = upgraded.after["operations_operation"]
    assert {row["id"] for row in found.values()} == {row["operation_id"] for row in drafts.values()} - {None}
    operations = {state: found[key] for state in drafts if (key := key_of(found, drafts[state]["operation_id"]))}
    states = {state: (row["kind"], row["state"], row["title"]) for state, row in operations.items()}
    assert states == {
        "looking": ("scan", "queued", "ACME/draft-looking"),
        "hashing": ("hashing", "queued", "ACME/draft-hashing"),
        "publishing": ("publication", "queued", "ACME/draft-publishing"),
        "withdrawing": ("withdrawal", "queued", "ACME/draft-withdrawing"),
        "failed": ("scan", "failed", "ACME/draft-failed"),
    }
    failed = operations["failed"]
    assert (failed["error_code"], failed["error"]) == (old["failed"]["error_code"], old["failed"]["error"])
    assert failed["finished_at"] == old["failed"]["turn_at"]
    assert operations["hashing"]["bytes_total"] == 2 * 1000 - 512


def key_of(rows: Rows, pk: int | None) -> Any:
    """Return the key of the row with this id; None if there is none."""
    return next((key for key, row in rows.items() if row["id"] == pk), None)


@pytest.mark.slow("starts manage.py")
def test_no_change_of_a_model_is_without_its_migration(upgraded: Upgraded) -> None:
    manage(upgraded.settings, "makemigrations", "--check", "--dry-run")


def test_content_types_and_the_permissions_of_a_user_still_resolve(upgraded: Upgraded) -> None:
    found = json.loads(manage(upgraded.settings, "shell", "--no-imports", "-c", READ_RIGHTS))
    assert found["lost"] == []
    assert found["rights"] == [
        "campaigns.change_draft",
        "campaigns.view_draft",
        "campaigns.view_draftitem",
        "fleet.view_anomaly",
        "ifeportal.view_job",
    ]


def test_a_poll_of_unchanged_objects_fetches_none_of_them(upgraded: Upgraded) -> None:
    told = json.loads(manage(upgraded.settings, "poll_buckets", "--once", "--json"))
    assert (told["get_requests"], told["objects_changed"]) == (0, 0)
    assert told["list_requests"] > 0


# People.


def test_who_had_signed_in_still_is(visitor: Visitor) -> None:
    visitor.cookies.set_cookie(session_cookie(SESSION))
    page = visitor.get("/")
    assert (page.status, page.path) == (200, "/")
    assert "Acme Air" in page.text


def session_cookie(key: str) -> Cookie:
    return Cookie(
        0, "sessionid", key, None, False, LOOPBACK, False, False, "/", True, False, None, False, None, None, {}
    )


def test_a_user_signs_in_with_the_password_of_before_and_sees_the_figures_of_before(visitor: Visitor) -> None:
    assert visitor.sign_in("otto").path == "/"
    fleet = visitor.get("/").text
    assert "Acme Air" in fleet
    assert "BETA" not in fleet
    for path, said in {
        "/": ["16.7 MB of 31.4 MB"],
        "/airlines/ACME/": ["N1", "N2", "N3", "N9", "Otto, 555-0100", "53%", "strange.txt", "A320"],
        "/airlines/ACME/tails/N1/": ["6.29 MB of 10.4 MB", "4.19 MB of 8.38 MB", "the link broke", "/content"],
        "/airlines/ACME/campaigns/2026-12/": ["December", "version 3", "8.38 MB", "not signed by who should"],
    }.items():
        page = visitor.get(path)
        assert page.status == 200, path
        assert [text for text in said if text not in page.text] == [], path


def test_the_logo_of_before_is_served(visitor: Visitor) -> None:
    visitor.sign_in("otto")
    assert visitor.get_bytes("/airlines/ACME/logo.png") == bytes(range(256))


def test_what_was_audited_before_is_read_by_managers(visitor: Visitor) -> None:
    visitor.sign_in("mona")
    assert "tail.duty" in visitor.get("/airlines/ACME/audit/").body


def test_an_authenticator_app_of_before_opens_the_admin_with_the_drafts_of_before(
    visitor: Visitor, upgraded: Upgraded
) -> None:
    page = visitor.sign_in("ada")
    assert page.path != "/", "no code was asked for"
    assert visitor.show_code(page).path == "/"
    drafts = upgraded.before["campaigns_draft"]
    listed = visitor.get("/admin/campaigns/draft/")
    assert listed.status == 200
    assert [row["name"] for row in drafts.values() if row["name"] not in listed.text] == []
    key = next(key for key, row in drafts.items() if row["name"] == "draft-hashing")
    draft = visitor.get(f"/admin/campaigns/draft/{key}/change/")
    assert draft.status == 200
    names = [row["name"].strip() for row in upgraded.before["campaigns_draftitem"].values()]
    assert [name for name in names if name not in draft.body] == []


def test_the_rights_of_before_open_their_part_of_the_admin_and_no_other(visitor: Visitor) -> None:
    visitor.sign_in("olga")
    allowed = ("campaigns/draft", "fleet/anomaly", "ifeportal/job")
    assert {name: visitor.get(f"/admin/{name}/").status for name in allowed} == dict.fromkeys(allowed, 200)
    assert visitor.get("/admin/fleet/load/").status == 403


# Programs.


def test_a_token_of_before_reads_the_rows_of_its_airline(program: Program) -> None:
    assert [row["airline"] for row in program.rows("airlines")] == ["ACME"]
    assert {row["tail"] for row in program.rows("tails")} >= {"N1", "N2", "N3"}
    assert [row["campaign"] for row in program.rows("campaigns")] == ["2026-12"]
    assert {row["content"]: row["size"] for row in program.rows("content")} == {
        "film": 8 * MIB,
        "song": 2 * MIB,
        "game": 1000,
    }
    total = 10 * MIB + 1000
    loads = {row["tail"]: (row["bytes_done"], row["items_done"], row["items_failed"]) for row in program.rows("loads")}
    assert loads == {"N1": (6 * MIB, 1, 1), "N2": (total, 3, 0), "N3": (0, 0, 0), "N9": (total, 3, 0)}
    transfers = program.rows("transfers", tail="N1")
    assert {row["content"]: (row["status"], row["bytes_done"], row["bytes_total"]) for row in transfers} == {
        "film": ("loading", 4 * MIB, 8 * MIB),
        "song": ("complete", 2 * MIB, 2 * MIB),
        "game": ("failed", 0, 1000),
    }
    assert {row["error"] for row in transfers if row["error"]} == {"not what was published"}


def test_a_token_of_before_that_reads_only_still_writes_nothing(program: Program) -> None:
    assert program.post("acknowledgements") == 403


def test_a_program_that_follows_changes_goes_on_from_a_revision_of_before(program: Program, upgraded: Upgraded) -> None:
    ours = [row for row in upgraded.before["live_change"].values() if row["airline_id"] == 1]
    oldest = min(row["rev"] for row in ours)
    answer = program.read("changes", since=str(oldest))
    heard = {(change["topic"], change["object"]) for change in answer["changes"]}
    assert heard >= {(row["topic"], row["object"]) for row in ours if row["rev"] > oldest}
    assert answer["rev"] >= max(row["rev"] for row in ours)
