"""Names: which are valid, which conflict, and that no valid name leaves its folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.contract.names import check_name, conflict_key, content_name
from loader.errors import BadName
from tests.support.contract_strategies import ANY_TEXT

GOOD = [
    "ACME",
    "movie-001",
    "2026-12",
    "D-AIXY",
    "Über den Wolken",
    "映画",
    "Кино",
    "हिन्दी",
    "می‌خواهم",
    "🎬 night",
    "100%",
    "%2e%2e",
    "a.b..c",
    "x" * 200,
    "é" * 100,
    "CON",
    "*?<>|:",
]
ILLEGAL_ANYWHERE = {
    "empty": "",
    "up": "..",
    "here": ".",
    "hidden": ".fleet",
    "climbing": "../x",
    "climbing inside": "a/../b",
    "absolute": "/etc/passwd",
    "slash": "a/b",
    "backslash": "a\\b",
    "NUL": "a\0b",
    "newline": "a\nb",
    "tab inside": "a\tb",
    "escape": "a\x1b[31mb",
    "delete": "a\x7fb",
    "C1 control": "a\x85b",
    "line separator": "a\u2028b",
    "right-to-left override": "gpj\u202efdp",
    "isolate": "a\u2066b",
    "leading space": " a",
    "trailing space": "a ",
    "trailing no-break space": "a\u00a0",
    "201 bytes": "x" * 201,
    "201 bytes in 101 letters": "é" * 100 + "x",
    "not in NFC": "e\u0301",
    "not in NFC, by a look-alike": "\u212b",
    "unpaired surrogate": "a\ud800",
}
ILLEGAL_AS_CONTENT = {
    "leading dash": "-rf",
    "trailing dot": "movie.",
    "our part file": "movie.part",
    "our part file in capitals": "movie.PART",
    "our progress": "movie.progress",
    "our error": "movie.error",
    "trailing space before the ending": "movie .tgz",
    "only the ending": ".tgz",
    "zero-width space": "mo\u200bvie",
    "byte order mark": "mo\ufeffvie",
    "soft hyphen": "mo\u00advie",
    "no-break space inside": "mo\u00a0vie",
    "private use": "mo\ue000vie",
    "unassigned": "mo\U000e0fffvie",
}


@pytest.mark.parametrize("name", GOOD)
def test_an_ordinary_name_is_legal_and_unchanged(name: str) -> None:
    assert check_name(name) == name
    assert content_name(name) == name
    assert content_name(name + ".tgz") == name


@pytest.mark.parametrize("name", ILLEGAL_ANYWHERE.values(), ids=ILLEGAL_ANYWHERE.keys())
def test_forbidden_names_are_refused_with_a_printable_reason(name: str) -> None:
    for check in (check_name, content_name):
        with pytest.raises(BadName) as caught:
            check(name)
        assert caught.value.code == "BAD_NAME"
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ILLEGAL_AS_CONTENT.values(), ids=ILLEGAL_AS_CONTENT.keys())
def test_names_that_must_not_become_files_are_refused(name: str) -> None:
    with pytest.raises(BadName):
        content_name(name)


@pytest.mark.parametrize("name", ["-rf", "D-AIXY.", "x.part", "mo\u200bvie"])
def test_tails_of_other_loaders_need_only_follow_the_contract(name: str) -> None:
    assert check_name(name) == name


def test_only_one_suffix_is_removed() -> None:
    assert content_name("a.tgz.tgz") == "a.tgz"
    assert content_name("a.TGZ") == "a.TGZ"
    assert content_name("a.tar") == "a.tar"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Movie", "mOVIE"),
        ("é", "e\u0301"),
        ("É", "e\u0301"),
        ("straße", "STRASSE"),
        ("K", "\u212a"),
        ("\u03c2", "\u03c3"),
    ],
)
def test_names_conflict_when_case_or_normalisation_is_all_that_differs(one: str, other: str) -> None:
    assert conflict_key(one) == conflict_key(other)


def test_names_that_differ_otherwise_do_not_conflict() -> None:
    assert len({conflict_key(name) for name in ("e", "é", "movie-1", "movie-01", "İ", "I")}) == 6


@given(ANY_TEXT)
def test_checking_gives_the_name_back_or_refuses_it(name: str) -> None:
    try:
        assert check_name(name) == name
    except BadName:
        return
    assert 0 < len(name.encode()) <= 200


@given(ANY_TEXT, st.sampled_from([".tgz", ".tgz.progress", ".tgz.error", ".tgz.part"]))
def test_a_legal_content_name_is_one_file_inside_its_folder(name: str, suffix: str) -> None:
    try:
        bare = content_name(name)
    except BadName:
        return
    folder = PurePosixPath("/content/2026-12")
    path = folder / (bare + suffix)
    assert path.parent == folder
    assert ".." not in path.parts
    assert len(path.name.encode()) <= 255
    assert not path.name.startswith((".", "-"))


@given(ANY_TEXT)
def test_a_legal_name_can_be_a_file_on_this_machine(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    try:
        bare = content_name(name)
    except BadName:
        return
    folder: Path = tmp_path_factory.mktemp("names")
    (folder / f"{bare}.tgz").write_bytes(b"")
    assert [path.name for path in folder.iterdir()] == [f"{bare}.tgz"]


@given(ANY_TEXT)
def test_folding_twice_changes_nothing(name: str) -> None:
    assert conflict_key(conflict_key(name)) == conflict_key(name)
