"""Progress, errors and heartbeats: numbers are strict, texts are lenient, unknown fields are preserved."""

from __future__ import annotations

import hashlib
import json
import pickle
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loader.contract.heartbeat import HEARTBEAT_LIMIT, Heartbeat, build_heartbeat, parse_heartbeat
from loader.contract.item_reports import (
    ERROR_LIMIT,
    PROGRESS_LIMIT,
    build_error,
    build_progress,
    parse_error,
    parse_progress,
    progress_from_etag,
    progress_to_report,
)
from loader.contract.units import MIB
from loader.errors import ERRORS, BadHeartbeat, BadProgress, Code, ContractError, WorldError
from tests.support.contract_strategies import HEARTBEATS, assert_presentable

NOT_A_NUMBER = [b"", b" ", b"abc", b"NaN", b"1e6", b"0x10", b"1_000", b"+5", b"-1", b"1.0", b"1,000", b"4 2", b"5\0"]
NOT_A_NUMBER += ["\uff14\uff12".encode(), "\u00b2".encode(), "\u0664".encode(), b"\xff", b"5 MB", b"\xef\xbb\xbf5"]
NOT_A_NUMBER += [b"1" * 21, b"9" * 20, b"9223372036854775808", b" " * PROGRESS_LIMIT + b"5", "5\u00a0".encode()]


@pytest.mark.parametrize("body", NOT_A_NUMBER)
def test_a_progress_that_is_no_plain_number_is_refused(body: bytes) -> None:
    with pytest.raises(BadProgress):
        parse_progress(body)


@pytest.mark.parametrize("body", [b"5", b"5\n", b" 5\r\n", b"\t5 ", b"005", b"00000000000000000005"])
def test_ascii_space_around_a_progress_is_allowed(body: bytes) -> None:
    assert parse_progress(body) == 5


def test_the_largest_number_a_database_holds_is_read() -> None:
    assert parse_progress(b"9223372036854775807") == 2**63 - 1


@pytest.mark.parametrize("done", [-1, 2**63])
def test_a_progress_that_could_not_be_read_back_is_not_built(done: int) -> None:
    with pytest.raises(BadProgress):
        build_progress(done)


@given(st.integers(0, 2**63 - 1))
def test_progress_round_trips(done: int) -> None:
    assert parse_progress(build_progress(done)) == done


@given(st.binary(max_size=70))
def test_any_bytes_are_a_number_or_refused(body: bytes) -> None:
    try:
        assert parse_progress(body) >= 0
    except BadProgress as exc:
        assert_presentable(exc)


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_reported_progress_is_in_whole_mib_below_the_size(done: int, size: int) -> None:
    value = progress_to_report(done, size)
    assert value % MIB == 0
    assert value <= done
    assert value < size or value == size == 0
    assert progress_to_report(size, size, final=True) == size
    assert progress_to_report(done, size, final=done != size and True) in (value, size)


@given(st.integers(0, 16 * 1024 * MIB), st.integers(0, 16 * 1024 * MIB))
@example(0, 0)
@example(MIB, MIB)
def test_reports_are_recognised_by_their_etag(done: int, size: int) -> None:
    for value in (progress_to_report(min(done, size), size), size):
        etag = hashlib.md5(build_progress(value)).hexdigest()
        assert progress_from_etag(etag, size) == value
        assert progress_from_etag(f'"{etag.upper()}"', size) == value


@pytest.mark.parametrize(
    ("body", "size"),
    [(b"5", 10), (b"1048577", 2 * MIB), (b"2097152", 2 * MIB - 1), (b"0\n", 10), (b"", 10), (b"1048576", None)],
)
def test_uncertain_etags_are_not_recognised(body: bytes, size: int | None) -> None:
    assert progress_from_etag(hashlib.md5(body).hexdigest(), size) is None


def test_only_zero_is_recognised_while_the_size_is_unknown() -> None:
    assert progress_from_etag(hashlib.md5(b"0").hexdigest(), None) == 0


@pytest.mark.parametrize("etag", ["", "x", "d41d8cd98f00b204e9800998ecf8427e-2"])
def test_an_etag_that_is_no_md5_is_not_recognised(etag: str) -> None:
    assert progress_from_etag(etag, 2**53) is None


@pytest.mark.parametrize("code", ERRORS)
def test_every_code_round_trips_with_its_text(code: Code) -> None:
    report = parse_error(build_error(code, "what happened: twice"))
    assert (report.code, report.text, report.truncated) == (code, "what happened: twice", False)


@pytest.mark.parametrize("body", [b"WARNING: x", b"no_space: x", b"E42: x", b"NO_SPACES: x", b"SLOW LINK"])
def test_an_error_with_an_unknown_code_is_unchanged(body: bytes) -> None:
    report = parse_error(body)
    assert (report.code, report.text) == (None, body.decode())


@pytest.mark.parametrize("body", [b"NO_SPACE", b"NO_SPACE:", b"NO_SPACE: \n", b"NO_SPACE\n"])
def test_a_code_without_a_message_uses_the_sentence_of_the_table(body: bytes) -> None:
    report = parse_error(body)
    assert (report.code, report.text) == ("NO_SPACE", ERRORS[Code.NO_SPACE].sentence)


@pytest.mark.parametrize("body", [b"", b"\0\0", b" \n\t ", b"\xef\xbb\xbf"])
def test_an_error_without_text_is_still_an_error_one_can_see(body: bytes) -> None:
    assert parse_error(body).text


def test_a_long_error_is_truncated_between_characters_and_marked() -> None:
    body = ("NO_SPACE: x" + "ü€🎬" * 1000).encode()
    for length in range(ERROR_LIMIT - 8, ERROR_LIMIT + 1):
        report = parse_error(body[:length], truncated=True)
        assert report.truncated
        assert "\ufffd" not in report.text
    assert parse_error(body).truncated


def test_direction_and_cursor_characters_are_made_visible() -> None:
    report = parse_error("a\u202eb\x1b[2Jc\x9bd\x7f".encode())
    assert report.text == "a\ufffdb\u241b[2Jc\ufffdd\u2421"


@given(st.binary(max_size=5000), st.booleans())
def test_any_bytes_become_one_line_that_can_be_stored_and_shown(body: bytes, cut: bool) -> None:
    text = parse_error(body, truncated=cut).text
    assert text
    assert not any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in text)
    assert text.encode()


@given(st.sampled_from(sorted(ERRORS)), st.text(max_size=50) | st.text(min_size=1, max_size=3).map(lambda t: t * 2000))
def test_an_error_is_built_as_one_whole_line_of_at_most_4_kib(code: Code, text: str) -> None:
    body = build_error(code, text)
    assert len(body) <= ERROR_LIMIT
    assert body.endswith(b"\n")
    assert body.count(b"\n") == 1
    assert body.decode().startswith(f"{code}: ")
    assert parse_error(body).code == code


@given(HEARTBEATS)
def test_heartbeats_round_trip(heartbeat: Heartbeat) -> None:
    assert parse_heartbeat(build_heartbeat(heartbeat)) == heartbeat


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"[]", "the document: must be an object, not a list"),
        (b"", "not JSON"),
        (b'{"at": "yesterday"}', "at: must be an ISO 8601 time"),
        (b'{"at": "0001-01-01T00:00:00+14:00"}', "at: must be an ISO 8601 time"),
        (b'{"at": 5}', "at: must be a string"),
        (b'{"rate_bps": -1}', "rate_bps: must be between"),
        (b'{"rate_bps": 1.5}', "rate_bps: must be a whole number"),
        (b'{"stores": {}}', "stores: must be a list"),
        (b'{"stores": [{"path": "/", "free": "much"}]}', r"stores\[0\].free: must be a whole number"),
        (b'{"held": [{}, 5]}', r"held\[1\]: must be an object"),
        (b'{"held": [{"verified": 1}]}', r"held\[0\].verified: must be true or false"),
        (b'{"state": "idle", "state": "loading"}', "the key 'state' appears twice"),
        (b'{"x": NaN}', "NaN is not JSON"),
        (b" " * (HEARTBEAT_LIMIT + 1), "longer than"),
        (b"[" * 100_000, "nested deeper"),
    ],
)
def test_a_wrong_heartbeat_is_refused_with_the_place(body: bytes, sentence: str) -> None:
    with pytest.raises(BadHeartbeat, match=sentence):
        parse_heartbeat(body)


def test_a_time_without_zone_is_utc() -> None:
    heartbeat = parse_heartbeat(b'{"at": "2026-12-01T10:00:00"}')
    assert heartbeat.at is not None
    assert heartbeat.at.isoformat() == "2026-12-01T10:00:00+00:00"


def test_a_heartbeats_words_are_one_line_each() -> None:
    heartbeat = parse_heartbeat(json.dumps({"reason": "a\nb\u202e", "state": "x\ty"}).encode())
    assert (heartbeat.reason, heartbeat.state) == ("a b\ufffd", "x y")


@given(st.binary(max_size=100))
def test_any_bytes_are_a_heartbeat_or_refused(body: bytes) -> None:
    try:
        parse_heartbeat(body)
    except BadHeartbeat as exc:
        assert_presentable(exc)


@pytest.mark.parametrize("error", [WorldError(Code.THROTTLED, "slow down", retry_after=3.0), ContractError("x")])
def test_errors_survive_the_way_between_processes(error: Any) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.code, again.permanent) == (
        type(error),
        str(error),
        error.code,
        error.permanent,
    )
    assert getattr(again, "retry_after", None) == getattr(error, "retry_after", None)


def test_the_table_has_every_contract_code_and_an_action() -> None:
    codes = """NO_SPACE READ_ONLY IO_ERROR SHORT_BODY SIZE_MISMATCH HASH_MISMATCH OBJECT_CHANGED OBJECT_GONE
        ARCHIVED THROTTLED TIMEOUT TOO_SLOW NETWORK CREDENTIALS FORBIDDEN WRONG_ENDPOINT CLOCK_SKEW BAD_MANIFEST
        BAD_NAME UNSIGNED BAD_SIGNATURE ROLLBACK EXPIRED CANCELLED HOOK_FAILED INTERNAL"""
    assert list(ERRORS) == codes.split()
    assert all(kind.code == code and kind.sentence and kind.advice for code, kind in ERRORS.items())
