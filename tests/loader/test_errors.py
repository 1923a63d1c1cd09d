"""The error codes: each is a plain string outside, with a row in the table and a cause."""

from __future__ import annotations

import json
import pickle

import pytest

from loader.errors import (
    CODE_OF_ERRNO,
    ERRORS,
    NO_ANSWER,
    UNREACHABLE,
    Cause,
    Code,
    WorldError,
    find_error_kind,
    parse_code,
)

CAUSES = {
    Cause.DISK: "NO_SPACE READ_ONLY IO_ERROR",
    Cause.OBJECT: "SIZE_MISMATCH HASH_MISMATCH OBJECT_CHANGED OBJECT_GONE ARCHIVED",
    Cause.MANIFEST: "BAD_MANIFEST BAD_NAME",
    Cause.POLICY: "UNSIGNED BAD_SIGNATURE ROLLBACK EXPIRED",
    Cause.LINK: "SHORT_BODY THROTTLED TIMEOUT TOO_SLOW NETWORK",
    Cause.AUTHENTICATION: "CREDENTIALS WRONG_ENDPOINT CLOCK_SKEW",
    Cause.ACCESS: "FORBIDDEN",
    Cause.OPERATOR: "CANCELLED",
    Cause.HOOK: "HOOK_FAILED",
    Cause.LOADER: "INTERNAL",
}


def test_every_code_has_one_row_in_the_table() -> None:
    assert list(ERRORS) == list(Code)
    assert all(kind.code is code for code, kind in ERRORS.items())
    assert all(code.name == code.value for code in Code)


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_its_codes(cause: Cause) -> None:
    assert {code.value for code in Code if code.cause is cause} == set(CAUSES[cause].split())


def test_a_disk_error_has_a_code_of_the_disk() -> None:
    assert {code.cause for code in CODE_OF_ERRNO.values()} == {Cause.DISK}


def test_an_unreachable_store_differs_from_one_that_breaks_off() -> None:
    assert {"NETWORK", "TIMEOUT"} == NO_ANSWER
    assert {"NETWORK", "TIMEOUT", "THROTTLED"} == UNREACHABLE


@pytest.mark.parametrize("code", Code)
def test_outside_a_code_is_a_plain_string(code: Code) -> None:
    word = code.name
    assert code == word
    assert {word: 1}[code] == 1
    assert (f"{code}: x", f"{code:>4}"[-4:], "%s" % code, str(code)) == (f"{word}: x", word[-4:], word, word)  # noqa: UP031
    assert json.dumps({"code": code}) == json.dumps({"code": word})
    assert type(str(code)) is str


@pytest.mark.parametrize("code", Code)
def test_an_error_survives_the_way_between_processes_with_its_code(code: Code) -> None:
    again = pickle.loads(pickle.dumps(WorldError(code, "twice")))
    assert again.code is code
    assert (again.cause, again.permanent, str(again)) == (code.cause, code.permanent, "twice")


@pytest.mark.parametrize("word", ["", "E42", "no_space", "NO_SPACES", "NO SPACE", "name"])
def test_a_word_of_another_loader_is_no_code(word: str) -> None:
    assert parse_code(word) is None
    assert find_error_kind(word) is None


def test_a_word_of_the_table_is_a_code() -> None:
    assert parse_code("NO_SPACE") is Code.NO_SPACE
    assert find_error_kind("NO_SPACE") is ERRORS[Code.NO_SPACE]
