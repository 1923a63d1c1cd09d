"""Names, sizes and addresses of uploads are parsed at the edge: what does not fit is refused with a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.uploads.announcements import names
from campaigns.uploads.announcements.part_plan import LARGEST_OBJECT, MOST_PARTS, SMALLEST_PART, plan_parts
from campaigns.uploads.announcements.source_urls import parse_source_url
from campaigns.uploads.models import Upload
from campaigns.uploads.signing import parse_valid_for
from loader.contract.units import MIB
from loader.errors import BadName
from loader.s3.part_plan import MAX_PART_SIZE
from tests.support.uploads_api import UPLOADS, Uploader

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "item", "is_archive"),
    [
        ("film", "film", False),
        ("film.tgz", "film", True),
        ("film.TGZ", "film", True),
        ("film.Tgz", "film", True),
        ("film.tgz.tgz", "film.tgz", True),
        ("safety.mp4", "safety.mp4", False),
        ("safety.tar.gz", "safety.tar.gz", False),
        ("Cafe\u0301.mp4", "Caf\u00e9.mp4", False),
        ("a b.mp4", "a b.mp4", False),
        ("x" * 200 + ".tgz", "x" * 200, True),
    ],
)
def test_a_file_name_becomes_the_name_of_an_item(text: str, item: str, is_archive: bool) -> None:
    parsed = names.parse_file_name(text)
    assert (parsed.item, parsed.is_archive) == (item, is_archive)


BAD_NAMES = [
    "",
    ".tgz",
    ".",
    "..",
    "../film.tgz",
    "a/b",
    "a\\b",
    "/film",
    ".hidden",
    "-rf",
    "film.",
    " film",
    "film ",
    "film.part",
    "film.progress.tgz",
    "x" * 201,
    "x" * 300,
    "é" * 101,
    "film\u202egpj.tgz",
    "film\u200b",
    "film\nname",
    "film\x7f",
    "fi\ufffflm",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused_with_its_rule(name: str) -> None:
    with pytest.raises(BadName, match=r"^the name "):
        names.parse_file_name(name)


@given(st.text(max_size=310))
def test_every_text_is_refused_or_has_a_key_below_the_airline(text: str) -> None:
    try:
        item = names.parse_file_name(text).item
    except BadName:
        return
    for campaign in ("", "2026-12"):
        key = names.object_key("ACME", campaign, item)
        assert key.startswith(f"ACME/{campaign or '.library'}/")
        assert key.endswith(".tgz")
        assert key.count("/") == 2
    assert names.parse_file_name(f"{item}.tgz").item == item


@pytest.mark.parametrize(
    ("size", "part_size", "total"),
    [
        (0, SMALLEST_PART, 1),
        (1, SMALLEST_PART, 1),
        (SMALLEST_PART, SMALLEST_PART, 1),
        (SMALLEST_PART + 1, SMALLEST_PART, 2),
        (GIB, SMALLEST_PART, 64),
        (SMALLEST_PART * MOST_PARTS, SMALLEST_PART, 9_000),
        (SMALLEST_PART * MOST_PARTS + 1, 17 * MIB, 8_471),
        (LARGEST_OBJECT, 583 * MIB, 8_993),
        (MAX_PART_SIZE * MOST_PARTS, MAX_PART_SIZE, 9_000),
    ],
)
def test_parts_grow_so_that_9000_are_enough(size: int, part_size: int, total: int) -> None:
    plan = plan_parts(size)
    assert (plan.part_size, plan.total) == (part_size, total)
    assert sum(plan.length(number) for number in range(1, plan.total + 1)) == size


def test_no_plan_has_a_part_larger_than_the_store_takes() -> None:
    with pytest.raises(ValueError, match="cannot be uploaded in parts"):
        plan_parts(MAX_PART_SIZE * MOST_PARTS + 1)


@given(st.integers(1, MAX_PART_SIZE * MOST_PARTS))
def test_a_plan_covers_the_file_exactly(size: int) -> None:
    plan = plan_parts(size)
    assert plan.total <= MOST_PARTS
    assert plan.part_size % MIB == 0
    assert (plan.total - 1) * plan.part_size + plan.length(plan.total) == size
    assert 1 <= plan.length(plan.total) <= plan.part_size
    for number in (0, -1, plan.total + 1):
        with pytest.raises(ValueError, match="The upload has parts 1 to"):
            plan.length(number)


@pytest.mark.parametrize(
    "url",
    [
        "https://files.example.org/film.tgz",
        "https://files.example.org:8443/a%20b?X-Amz-Signature=0a1b&b=c",
        "https://[2001:db8::1]/film.tgz",
    ],
)
def test_an_https_address_is_accepted(url: str) -> None:
    assert parse_source_url(f"{url}#fragment") == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "film.tgz",
        "http://files.example.org/film.tgz",
        "ftp://files.example.org/film.tgz",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//files.example.org/film.tgz",
        "https://",
        "https:///film.tgz",
        "https://user@files.example.org/",
        "https://user:secret@files.example.org/",
        "https://files.example.org:0/",
        "https://files.example.org:99999/",
        "https://[::1",
        "https://files.example.org/a b",
        "https://files.example.org/\r\nHost: evil",
        "https://files.example.org\\@evil.example/",
        "https://f\u0456les.example.org/",
        "https://files.example.org/" + "a" * 5_000,
    ],
)
def test_any_other_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as refused:
        parse_source_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("text", "seconds"), [("12 hours", 43_200), ("15 minutes", 900), ("1h30m", 5_400), ("60", 60)])
def test_a_duration_is_written_as_people_write_it(text: str, seconds: float) -> None:
    assert parse_valid_for(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "13 hours", "12 hours 1 s", "soon", "nan", "1e3", "9" * 400])
def test_a_duration_beyond_the_limits_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Write a duration from 1 s"):
        parse_valid_for(text)


SUM = "a" * 64
WRONG: list[dict[str, Any]] = [
    *({"name": name} for name in BAD_NAMES),
    {"name": None},
    {"name": 7},
    {"name": ["film"]},
    {"name": ...},
    {"airline": ...},
    {"airline": ""},
    {"size": ...},
    {"size": 0},
    {"size": -1},
    {"size": 1.5},
    {"size": True},
    {"size": "12"},
    {"size": 2**63},
    {"size": 10**400},
    {"size": [1]},
    {"size": 1, "source_url": "https://files.example.org/film"},
    {"size": ..., "source_url": "http://files.example.org/film"},
    {"campaign": "a/b"},
    {"campaign": ".library"},
    {"campaign": "x" * 201},
    {"campaign": 7},
    {"sha256": "a" * 63},
    {"sha256": "g" * 64},
    {"content_type": "video"},
    {"content_type": "video/mp4\r\nX: y"},
    {"title": "x" * 501},
    {"title": "two\nlines"},
    {"kind": "x" * 101},
    {"replace": "perhaps"},
    {"file_modified": "now"},
    {"file_modified": 2**60},
    {"first_part_sha256": "zz"},
]


def test_a_body_that_does_not_fit_is_refused_with_the_field(mona: Uploader) -> None:
    for fields in WRONG:
        answer = mona.create(**fields)
        assert answer.status_code == 400, fields
        assert set(answer.json()["errors"]) & {*fields, "size"}, fields
    assert not Upload.objects.exists()


def test_a_body_that_is_no_object_is_refused(mona: Uploader) -> None:
    for body in ([], "text", 7, None, True, [{"airline": "ACME"}]):
        assert mona.client.post(UPLOADS, body, format="json").status_code == 400, body


def test_nul_is_refused(mona: Uploader) -> None:
    assert mona.create(name="fi\0lm").status_code == 400
    assert mona.create(campaign="2026\0").status_code == 400


def test_all_fields_of_a_request_are_in_its_answer(mona: Uploader) -> None:
    answer = mona.create(
        name="Cafe\u0301.MP4",
        size=5 * 2**30,
        title="  Café  ",
        kind="movie",
        content_type="video/mp4",
        sha256=SUM.upper(),
        file_modified=1_790_000_000_123,
        first_part_sha256="A" * 43 + "=",
        unknown="ignored",
    )
    assert answer.status_code == 201
    row = answer.json()
    assert {key: row[key] for key in ("status", "stage", "name", "item", "title", "content_kind", "campaign")} == {
        "status": "pending",
        "stage": "receiving",
        "name": "Caf\u00e9.MP4",
        "item": "Caf\u00e9.MP4",
        "title": "Café",
        "content_kind": "movie",
        "campaign": "",
    }
    assert (row["part_size"], row["parts_total"], row["uploaded_percentage"]) == (SMALLEST_PART, 320, 0)
    assert (row["file_modified"], row["first_part_sha256"]) == (1_790_000_000_123, "0" * 64)
    assert row["meta_info"] == {
        "name": "Caf\u00e9.MP4",
        "size": 5 * 2**30,
        "content_type": "video/mp4",
        "sha256": SUM,
        "uploaded_at": None,
    }
