"""Keys: built from checked names, and parsed by their exact shape."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.contract.keys import (
    MediaKey,
    StatusKey,
    campaign_error_key,
    content_key,
    error_key,
    heartbeat_key,
    manifest_key,
    other_content_keys,
    parse_media_key,
    parse_status_key,
    progress_key,
    queue_key,
)
from loader.errors import BadName
from tests.support.contract_strategies import ANY_TEXT, CONTENT, SEGMENTS


@given(SEGMENTS, SEGMENTS, CONTENT)
def test_media_keys_round_trip(airline: str, campaign: str, content: str) -> None:
    assert parse_media_key(manifest_key(airline, campaign)) == MediaKey("manifest", airline, campaign)
    assert parse_media_key(manifest_key(airline, campaign) + ".dsse") == MediaKey("signature", airline, campaign)
    assert parse_media_key(content_key(airline, campaign, content)) == MediaKey("content", airline, campaign, content)
    assert parse_media_key(queue_key(airline, campaign)) == MediaKey("queue", airline, tail=campaign)


@given(SEGMENTS, SEGMENTS, SEGMENTS, CONTENT)
def test_status_keys_round_trip(airline: str, tail: str, campaign: str, content: str) -> None:
    names = (airline, tail, campaign, content)
    assert parse_status_key(progress_key(*names)) == StatusKey("progress", *names)
    assert parse_status_key(error_key(*names)) == StatusKey("error", *names)
    assert parse_status_key(campaign_error_key(*names[:3])) == StatusKey("campaign_error", *names[:3])
    assert parse_status_key(heartbeat_key(*names[:2])) == StatusKey("heartbeat", *names[:2])
    assert len(progress_key(*names).encode()) <= 1024


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("ACME/D-1/2026-12/movie-001.tgz.progress", "movie-001"),
        ("ACME/D-1/2026-12/Über den Wolken.tgz.progress", "Über den Wolken"),
        ("ACME/D-1/2026-12/a.tgz.tgz.progress", "a.tgz"),
        ("ACME/D-1/2026-12/campaign.json.tgz.progress", "campaign.json"),
        ("ACME/D-1/loader.json/x.tgz.progress", "x"),
        ("ACME/-1/2026-12./x.tgz.progress", "x"),
    ],
)
def test_a_progress_key_has_an_exact_shape(key: str, content: str) -> None:
    parsed = parse_status_key(key)
    assert parsed is not None
    assert (parsed.kind, parsed.content) == ("progress", content)


@pytest.mark.parametrize(
    "key",
    [
        "ACME/D-1/.archive/x.tgz.progress",
        "ACME/.fleet/x",
        ".lease/ACME",
        "ACME/D-1/2026-12/.x.tgz.progress",
        "ACME/",
        "ACME/D-1/",
        "ACME/D-1/2026-12/",
    ],
)
def test_reserved_keys_and_folder_markers_are_skipped(key: str) -> None:
    assert parse_status_key(key) is None
    assert parse_media_key(key) is None


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "ACME",
        "ACME/D-1/2026-12",
        "ACME//2026-12/x.tgz.progress",
        "/ACME/D-1/2026-12/x.tgz.progress",
        "ACME/../2026-12/x.tgz.progress",
        "ACME/D-1/../x.tgz.progress",
        "ACME/./2026-12/x.tgz.progress",
        "ACME/D-1/.archive/../x.tgz.progress",
        "ACME/D-1/2026-12/sub/x.tgz.progress",
        "ACME/D-1/2026-12/x\n.tgz.progress",
        "ACME/D-1\\/2026-12/x.tgz.progress",
        "ACME/D-1 /2026-12/x.tgz.progress",
        "ACME/D-1/2026-12/x.progress",
        "ACME/D-1/2026-12/x.tgz",
        "ACME/D-1/2026-12/-x.tgz.progress",
        "ACME/D-1/2026-12/e\u0301.tgz.progress",
        "A" * 1024,
        "ACME/D-1/2026-12/" + "x" * 994,
        "ACME/loader.json",
        "//",
    ],
)
def test_a_status_key_of_another_shape_is_refused(key: str) -> None:
    with pytest.raises(BadName) as caught:
        parse_status_key(key)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    "key",
    [
        "ACME/2026-12/movie.mp4",
        "ACME/2026-12/sub/x.tgz",
        "ACME/x.tgz",
        "ACME/2026-12/.x/../y.tgz",
        "ACME/.fleet/.json",
        "ACME/../x.tgz",
        "ACME/2026-12/x.part.tgz",
        "ACME/2026-12/campaign.json.sig",
        "ACME/.fleet/../a.json",
    ],
)
def test_a_media_key_of_another_shape_is_refused(key: str) -> None:
    with pytest.raises(BadName):
        parse_media_key(key)


@pytest.mark.parametrize(
    ("content", "others"),
    [
        ("movie", ["A/c/movie.TGZ"]),
        ("movie.TGZ", ["A/c/movie.TGZ", "A/c/movie.TGZ.TGZ"]),
        ("movie.Tgz", ["A/c/movie.Tgz", "A/c/movie.Tgz.TGZ"]),
        ("movie.tgz", ["A/c/movie.tgz.TGZ"]),
    ],
)
def test_an_object_may_have_an_ending_in_capitals(content: str, others: list[str]) -> None:
    assert list(other_content_keys("A", "c", content)) == others


@pytest.mark.parametrize("ending", [".TGZ", ".Tgz"])
def test_a_key_with_another_suffix_is_refused_with_the_reason(ending: str) -> None:
    with pytest.raises(BadName, match=f"ends in {ending}; rename the object, its ending must be .tgz"):
        parse_media_key(f"A/c/movie{ending}")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".fleet", "x" * 201, "e\u0301", "a\0"])
@pytest.mark.parametrize(
    "build",
    [
        lambda name: manifest_key(name, "c"),
        lambda name: manifest_key("a", name),
        lambda name: content_key("a", "c", name),
        lambda name: queue_key("a", name),
        lambda name: progress_key("a", name, "c", "x"),
        lambda name: error_key("a", "t", "c", name),
        lambda name: campaign_error_key("a", "t", name),
        lambda name: heartbeat_key("a", name),
    ],
)
def test_no_key_is_built_from_an_illegal_name(build: Callable[[str], str], name: str) -> None:
    with pytest.raises(BadName):
        build(name)


@given(st.lists(ANY_TEXT, max_size=5).map("/".join))
def test_any_key_is_understood_passed_over_or_refused_and_nothing_else(key: str) -> None:
    for parse in (parse_media_key, parse_status_key):
        try:
            parsed = parse(key)
        except BadName:
            continue
        if parsed is not None:
            assert key.startswith(f"{parsed.airline}/")
            assert ".." not in (parsed.airline, parsed.tail, parsed.campaign, parsed.content)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_a_key_that_can_be_built_means_what_it_was_built_from(
    airline: str, tail: str, campaign: str, content: str
) -> None:
    try:
        key = progress_key(airline, tail, campaign, content)
    except BadName:
        return
    assert parse_status_key(key) == StatusKey("progress", airline, tail, campaign, content)
