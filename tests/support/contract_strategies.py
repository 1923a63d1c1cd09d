"""Hypothesis strategies for the contract: valid names, and manifests with every field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from loader.contract.heartbeat import Heartbeat, HeldCampaign, StoreUsage
from loader.contract.manifest import Exhibition, Item, Manifest
from loader.contract.names import check_name, conflict_key, content_name
from loader.errors import BadName

# Texts that caused faults before: path syntax, our own suffixes, case and normalisation pairs, unusual spaces.
NASTY = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "\\",
        "\0",
        "\n",
        "\x7f",
        " ",
        "\u00a0",
        "\u202e",
        "\u200d",
        "-",
        ".tgz",
        ".part",
        ".progress",
        "é",
        "e\u0301",
        "ß",
        "ss",
        "İ",
        "\u0131",
        "K",
        "\ud800",
        "\ufeff",
        "%2e",
        "映画",
        "🎬",
        "campaign.json",
        "A",
        "a",
    ]
)
ANY_TEXT = st.one_of(
    st.text(max_size=30),
    st.lists(st.one_of(NASTY, st.text(max_size=4)), max_size=6).map("".join),
    st.text(alphabet=st.characters(), max_size=8),
)


def _legal(name: str) -> bool:
    try:
        check_name(name)
    except BadName:
        return False
    return True


def _legal_content(name: str) -> bool:
    try:
        content_name(name + ".tgz")
    except BadName:
        return False
    return True


WORDS = st.text(alphabet="abcXYZ019 .-_éß映🎬%+", min_size=1, max_size=20)
SEGMENTS = st.one_of(WORDS, ANY_TEXT).filter(_legal)
CONTENT = st.one_of(WORDS, ANY_TEXT, WORDS.map(lambda name: name + ".tgz")).filter(_legal_content)

# Texts that JSON, a database and UTF-8 all accept.
PLAIN_TEXT = st.text(
    alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    max_size=20,
)
JSON_LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    PLAIN_TEXT,
)
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    JSON_LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN_TEXT, inner, max_size=3),
    max_leaves=6,
)


def extras(*known: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return fields that a reader of this version does not know."""
    return st.dictionaries(PLAIN_TEXT.filter(lambda key: key not in known), JSON_VALUES, max_size=2)


ITEMS = st.builds(
    Item,
    name=CONTENT,
    size=st.integers(0, 2**40),
    sha256=st.none() | st.text(alphabet="0123456789abcdef", min_size=64, max_size=64),
    title=PLAIN_TEXT,
    kind=PLAIN_TEXT,
    required=st.booleans(),
    priority=st.integers(-(2**31) + 1, 2**31 - 1),
    extra=extras("name", "size", "sha256", "title", "kind", "required", "priority"),
)
EXHIBITIONS = st.builds(
    Exhibition, starts=st.none() | st.dates(), ends=st.none() | st.dates(), extra=extras("starts", "ends")
)

MOMENTS = st.datetimes(
    datetime(1, 1, 2),
    datetime(9999, 12, 30),
    timezones=st.just(UTC),
)


def manifests(airline: str, campaign: str) -> st.SearchStrategy[Manifest]:
    """Return any manifest that is valid under this prefix."""
    return st.builds(
        Manifest,
        content=st.lists(ITEMS, max_size=5, unique_by=lambda item: conflict_key(item.name)).map(tuple),
        airline=st.sampled_from([None, airline]),
        campaign=st.sampled_from([None, campaign]),
        version=st.none() | st.integers(0, 2**53),
        title=PLAIN_TEXT,
        exhibition=EXHIBITIONS,
        schema=st.none() | st.integers(0, 9),
        tails=st.none() | st.lists(SEGMENTS, max_size=3).map(tuple),
        expires=st.none() | MOMENTS,
        signed_at=st.none() | MOMENTS,
        extra=extras(
            *("content", "items", "airline", "campaign", "version", "title", "exhibition", "schema"),
            *("tails", "expires", "signed_at"),
        ),
    )


LINES = st.text(alphabet="abc XYZ-019:/éß映", max_size=20).map(lambda text: " ".join(text.split()))
COUNTS = st.none() | st.integers(0, 2**53)
TIMES = st.none() | st.datetimes(
    datetime(1970, 1, 2),
    datetime(2400, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
HEARTBEATS = st.builds(
    Heartbeat,
    loader=LINES,
    at=TIMES,
    started_at=TIMES,
    state=LINES,
    reason=LINES,
    campaign=LINES,
    rate_bps=COUNTS,
    stores=st.lists(
        st.builds(StoreUsage, path=LINES, total=COUNTS, free=COUNTS, extra=extras("path", "total", "free")), max_size=3
    ).map(tuple),
    queue_version=COUNTS,
    held=st.lists(
        st.builds(
            HeldCampaign,
            campaign=LINES,
            items=COUNTS,
            bytes=COUNTS,
            verified=st.booleans(),
            extra=extras("campaign", "items", "bytes", "verified"),
        ),
        max_size=3,
    ).map(tuple),
    schema=st.none() | st.integers(0, 9),
    extra=extras(
        "schema",
        "loader",
        "at",
        "started_at",
        "state",
        "reason",
        "campaign",
        "rate_bps",
        "stores",
        "queue_version",
        "held",
    ),
)


def assert_presentable(error: Exception) -> None:
    """Check that the error's sentence can be shown and logged unchanged."""
    assert str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 400
