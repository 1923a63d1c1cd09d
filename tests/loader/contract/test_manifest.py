"""Manifests: accepted or refused completely, in bounded time, with unknown fields preserved."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.contract.manifest import (
    ITEMS_LIMIT,
    MANIFEST_LIMIT,
    TAILS_LIMIT,
    Item,
    Manifest,
    build_manifest,
    parse_manifest,
)
from loader.errors import BadManifest
from tests.support.contract_strategies import ANY_TEXT, JSON_VALUES, assert_presentable, manifests


def parse(document: Any) -> Manifest:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_manifest(body, airline="ACME", campaign="2026-12")


def one(**fields: Any) -> dict[str, Any]:
    return {"content": [{"name": "a", "size": 1, **fields}]}


WRONG: dict[str, tuple[Any, str]] = {
    "a string": ("x", "the document: must be an object, not a string"),
    "a number": (7, "the document: must be an object, not a number"),
    "null": (None, "the document: must be an object, not null"),
    "nothing in it": ({}, "content: is missing"),
    "content null": ({"content": None}, "content: is missing"),
    "content an object": ({"content": {}}, "content: must be a list, not an object"),
    "an item is a string": ({"content": ["a"]}, r"content\[0\]: must be an object"),
    "an item without name": ({"content": [{"size": 1}]}, r"content\[0\].name: is missing"),
    "an item without size": ({"content": [{"name": "a"}]}, r"content\[0\].size: is missing"),
    "a name that is a number": (one(name=5), r"content\[0\].name: must be a string"),
    "size negative": (one(size=-1), r"content\[0\].size: must be between 0"),
    "size a float": (one(size=1.0), r"content\[0\].size: must be a whole number, not a fraction"),
    "size in exponents": (b'[{"name": "a", "size": 1e3}]', r"content\[0\].size: must be a whole number"),
    "size a string": (one(size="1"), r"content\[0\].size: must be a whole number, not a string"),
    "size true": (one(size=True), r"content\[0\].size: must be a whole number, not a boolean"),
    "size above 2^53": (one(size=2**53 + 1), r"content\[0\].size: must be between 0"),
    "size of 5,000 digits": (b'[{"name": "a", "size": ' + b"9" * 5000 + b"}]", "more than 40 digits"),
    "size NaN": (b'[{"name": "a", "size": NaN}]', "NaN is not JSON"),
    "size Infinity": (b'[{"name": "a", "size": -Infinity}]', "-Infinity is not JSON"),
    "size 1e400": (b'[{"name": "a", "size": 1e400}]', "1e400 is too large"),
    "sizes too large together": (
        {"content": [{"name": "a", "size": 2**53}, {"name": "b", "size": 1}]},
        "content: the sizes add up",
    ),
    "a key twice": (b'[{"name": "a", "size": 1, "size": 2}]', "the key 'size' appears twice"),
    "content twice": (b'{"content": [], "content": []}', "the key 'content' appears twice"),
    "a key twice, once escaped": (b'[{"name": "a", "n\\u0061me": "b", "size": 2}]', "the key 'name' appears twice"),
    "sha256 short": (one(sha256="ab"), r"content\[0\].sha256: must be 64"),
    "sha256 no hex": (one(sha256="g" * 64), r"content\[0\].sha256: must be 64"),
    "sha256 in other digits": (one(sha256="\uff11" * 64), r"content\[0\].sha256: must be 64"),
    "sha256 with newline": (one(sha256="a" * 64 + "\n"), r"content\[0\].sha256: must be 64"),
    "sha256 a number": (one(sha256=5), r"content\[0\].sha256: must be 64"),
    "required a word": (one(required="yes"), r"content\[0\].required: must be true or false"),
    "priority a float": (one(priority=0.5), r"content\[0\].priority: must be a whole number"),
    "priority too large": (one(priority=2**31), r"content\[0\].priority: must be between"),
    "title a list": (one(title=[]), r"content\[0\].title: must be a string, not a list"),
    "version a string": ({**one(), "version": "3"}, "version: must be a whole number"),
    "version negative": ({**one(), "version": -3}, "version: must be between"),
    "exhibition a list": ({**one(), "exhibition": []}, "exhibition: must be an object"),
    "a date in another order": ({**one(), "exhibition": {"starts": "01.12.2026"}}, "exhibition.starts: must be a date"),
    "a date without dashes": ({**one(), "exhibition": {"ends": "20261231"}}, "exhibition.ends: must be a date"),
    "a day that never is": ({**one(), "exhibition": {"ends": "2026-02-30"}}, "exhibition.ends: must be a date"),
    "tails a string": ({**one(), "tails": "D-ABCD"}, "tails: must be a list"),
    "tails with a number": ({**one(), "tails": ["D-ABCD", 5]}, r"tails\[1\]: must be a string"),
    "too many tails": ({**one(), "tails": ["x"] * (TAILS_LIMIT + 1)}, "tails: has 10,001 names"),
    "expires on a day that never is": ({**one(), "expires": "2026-02-30"}, "expires: must be a date"),
    "expires in words": (
        {**one(), "expires": "tomorrow"},
        "expires: must be a time with an offset such as 2026-12-31T23:59:00Z",
    ),
    "expires without an offset": ({**one(), "expires": "2026-12-31T23:59:00"}, "expires: must be a time"),
    "expires a number": ({**one(), "expires": 1798761599}, "expires: must be a string"),
    "expires empty": ({**one(), "expires": ""}, "expires: must be a time"),
    "expires false": ({**one(), "expires": False}, "expires: must be a string"),
    "expires before time began": ({**one(), "expires": "0001-01-01T00:00:00+23:00"}, "expires: must be a time"),
    "signed on a day that never is": ({**one(), "signed_at": "2026-02-30T00:00:00Z"}, "signed_at: must be a time"),
    "another airline": (
        {**one(), "airline": "BETA"},
        "airline: must be 'ACME' as in the key of the object, not 'BETA'",
    ),
    "the airline in small letters": (
        {**one(), "airline": "acme"},
        "airline: must be 'ACME' as in the key of the object, not 'acme'",
    ),
    "another campaign": (
        {**one(), "campaign": "2026-11"},
        "campaign: must be '2026-12' as in the key of the object, not '2026-11'",
    ),
    "an airline that is a number": (
        {**one(), "airline": 5},
        "airline: must be 'ACME' as in the key of the object, not a number",
    ),
    "an unpaired surrogate": (
        b'{"content": [], "x": ["\\ud800"]}',
        r"x\[0\]: contains a NUL character or an unpaired surrogate",
    ),
    "an unpaired surrogate in a key": (b'{"content": [], "\\udfff": 1}', "a key of the object: contains"),
    "a NUL": (b'{"content": [], "title": "\\u0000"}', "title: contains a NUL"),
    "the same name twice": ({"content": [{"name": "a", "size": 1}] * 2}, r"content\[1\].name: 'a' conflicts with 'a'"),
    "the same name once with its ending": (
        {"content": [{"name": "a", "size": 1}, {"name": "a.tgz", "size": 1}]},
        "conflicts with",
    ),
    "names equal but for case": (
        {"content": [{"name": "Stra\u00dfe", "size": 1}, {"name": "b", "size": 1}, {"name": "STRASSE", "size": 1}]},
        r"content\[2\].name: 'STRASSE' conflicts with 'Stra\\xdfe' in content\[0\]",
    ),
    "too many items": (
        {"content": [{"name": f"a{n}", "size": 1} for n in range(ITEMS_LIMIT + 1)]},
        "content: has 10,001 items",
    ),
    "seventeen deep": ({**one(), "x": json.loads("[" * 16 + "]" * 16)}, "nested deeper than 16"),
}
BAD_NAMES = ["../x", "/x", "a\\b", "a\0b", "a\nb", "", ".", "..", ".x", "-x", "x.", "x ", " x", "x" * 201]
BAD_NAMES += ["x.part", "x.progress.tgz", "x.error", "x\u202ey", "e\u0301", "sub/x", ".tgz", "x\u200by"]


@pytest.mark.parametrize(("document", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_manifest_is_refused_with_the_place(document: Any, sentence: str) -> None:
    with pytest.raises(BadManifest, match=sentence) as caught:
        parse(document)
    assert caught.value.code == "BAD_MANIFEST"
    assert caught.value.permanent
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_refuses_the_manifest_with_its_own_code(name: str) -> None:
    with pytest.raises(BadManifest, match=r"content\[1\]\.name: |NUL") as caught:
        parse({"content": [{"name": "good", "size": 1}, {"name": name, "size": 1}]})
    assert caught.value.code == ("BAD_MANIFEST" if "\0" in name else "BAD_NAME")


def test_a_bad_name_of_a_tail_refuses_the_manifest_too() -> None:
    with pytest.raises(BadManifest, match=r"tails\[0\]: the name '../x' contains a slash|begins with a dot") as caught:
        parse({"content": [], "tails": ["../x"]})
    assert caught.value.code == "BAD_NAME"


def test_an_empty_tail_list_means_no_aircraft_and_a_missing_one_means_all() -> None:
    assert parse({"content": [], "tails": []}).tails == ()
    assert parse({"content": [], "tails": None, "expires": None}) == parse({"content": []})


def test_a_time_may_have_any_offset_and_is_read_in_utc() -> None:
    manifest = parse({"content": [], "expires": "2026-12-31T23:59+05:30", "signed_at": "2026-12-01T00:00:00.5Z"})
    assert manifest.expires == datetime(2026, 12, 31, 18, 29, tzinfo=UTC)
    assert b'"signed_at": "2026-12-01T00:00:00.500000Z"' in build_manifest(manifest)


def test_an_expiry_date_is_the_start_of_its_day_and_remains_a_date() -> None:
    manifest = parse({"content": [], "expires": "2026-12-31"})
    assert manifest.expires == datetime(2026, 12, 31, tzinfo=UTC)
    assert b'"expires": "2026-12-31"' in build_manifest(manifest)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"content": ' + b"[" * 5_000_000,
        b"[" + b"[]," * 1_700_000 + b"[]]",
        b"[" + b"1," * 2_600_000 + b"1]",
        b'"' + b'\\"' * 2_600_000,
        b'["' + b"\\" * 5_200_000,
        b'{"content": [], "x": "' + b"\\ud83d" * 800_000 + b'"}',
        b"9" * 5_000_000,
        b'{"' + b"a" * 5_000_000 + b'": 1, "content": 5}',
        b" " * (MANIFEST_LIMIT + 1),
        b"\xff" * MANIFEST_LIMIT,
    ],
    ids=[
        "arrays",
        "objects",
        "closed",
        "long",
        "siblings",
        "numbers",
        "quotes",
        "backslashes",
        "surrogates",
        "digits",
        "key",
        "limit",
        "binary",
    ],
)
def test_the_worst_five_megabytes_are_refused_in_bounded_time(body: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(BadManifest) as caught:
        parse(body)
    assert time.process_time() - begun < 5
    assert len(str(caught.value)) < 400


def test_sixteen_deep_and_ten_thousand_items_are_still_fine() -> None:
    deep = json.loads("[" * 15 + "]" * 15)
    manifest = parse({"content": [{"name": f"a{n}", "size": 1} for n in range(ITEMS_LIMIT)], "x": deep})
    assert len(manifest.content) == ITEMS_LIMIT
    assert manifest.bytes_total == ITEMS_LIMIT
    assert manifest.extra == {"x": deep}


def test_brackets_inside_a_text_are_not_depth() -> None:
    assert parse({**one(), "title": '[[[[[[[[[[[[[[[[[[[[{"\\"[[[['}).title.startswith("[[[[")


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert parse(b'[{"name": "\\ud83c\\udfac", "size": 1}]').content[0].name == "\N{CLAPPER BOARD}"


def test_the_hash_is_read_in_either_case_and_stored_in_one() -> None:
    assert parse(one(sha256="AB" * 32)).content[0].sha256 == "ab" * 32


def test_a_manifest_too_long_is_not_built() -> None:
    with pytest.raises(BadManifest, match="the limit is"):
        build_manifest(Manifest(content=(Item("a", 1, title="x" * MANIFEST_LIMIT),)))


def test_a_name_that_ends_like_an_object_keeps_its_meaning() -> None:
    manifest = Manifest(content=(Item("a.tgz", 1), Item("a", 2)))
    assert parse(build_manifest(manifest)) == manifest


@given(manifests("ACME", "2026-12"))
def test_building_and_parsing_gives_the_same_manifest(manifest: Manifest) -> None:
    assert parse(build_manifest(manifest)) == manifest


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_nothing_else(body: bytes) -> None:
    try:
        parse(body)
    except BadManifest as exc:
        assert_presentable(exc)


@given(
    st.dictionaries(
        st.sampled_from(["content", "items", "airline", "campaign", "version", "title", "exhibition", "schema", "x"]),
        JSON_VALUES
        | st.lists(
            st.dictionaries(
                st.sampled_from(["name", "size", "sha256", "title", "kind", "required", "priority", "y"]),
                JSON_VALUES | ANY_TEXT,
            ),
            max_size=3,
        ),
    )
)
def test_any_json_is_read_or_refused_and_what_is_read_can_be_written(document: dict[str, Any]) -> None:
    try:
        manifest = parse(document)
    except BadManifest as exc:
        assert_presentable(exc)
        return
    assert parse(build_manifest(manifest)) == manifest
