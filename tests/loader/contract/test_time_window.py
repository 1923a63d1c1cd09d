"""Time windows: their bounds to the second, midnight, the local time zone, and changes of daylight saving time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.contract.time_window import ALWAYS, TimeWindow, parse_time_window

SECOND, HOUR = timedelta(seconds=1), 3600.0


@pytest.fixture
def zone() -> Iterator[Callable[[str], None]]:
    """Set the time zone of this process."""
    before = os.environ.get("TZ")

    def move(name: str) -> None:
        os.environ["TZ"] = name
        time.tzset()

    yield move
    os.environ.pop("TZ", None)
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def at(clock: str, day: str = "2026-12-15") -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}+00:00")


@pytest.mark.parametrize(
    ("hours", "spans", "local"),
    [
        ("22:00-05:00", ((1320, 300),), False),
        (" 22:00 - 05:00 UTC", ((1320, 300),), False),
        ("09:00-11:30,20:00-06:00 Local", ((540, 690), (1200, 360)), True),
        ("00:00-24:00", ((0, 1440),), False),
        ("", (), False),
        ("  ", (), False),
    ],
)
def test_hours_are_read_as_people_write_them(hours: str, spans: tuple[tuple[int, int], ...], local: bool) -> None:
    assert parse_time_window(hours) == TimeWindow(spans, local)
    assert parse_time_window(str(parse_time_window(hours))) == parse_time_window(hours)


@pytest.mark.parametrize(
    "hours",
    [
        "night", "22-05", "22:00", "22:00-", "24:00-05:00", "22:60-23:00", "9:00-10:00", "22:00-05:00;", "local",
        "22:00-05:00 CET", "10:00-10:00", "00:00-00:00", "22:00-24:01", "\uff12\uff12:00-05:00", "22:00-05:00,",
        ",".join(["01:00-02:00"] * 25),
    ],
)  # fmt: skip
def test_invalid_hours_are_refused(hours: str) -> None:
    with pytest.raises(ValueError, match=r"hours|length|spans") as refused:
        parse_time_window(hours)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("hours", "clock", "is_open", "seconds"),
    [
        ("22:00-05:00", "21:59:59", False, 1),
        ("22:00-05:00", "22:00:00", True, 7 * HOUR),
        ("22:00-05:00", "23:59:59.500000", True, 5 * HOUR + 0.5),
        ("22:00-05:00", "00:00:00", True, 5 * HOUR),
        ("22:00-05:00", "04:59:30", True, 30),
        ("22:00-05:00", "05:00:00", False, 17 * HOUR),
        ("20:00-24:00", "23:59:59", True, 1),
        ("20:00-24:00", "00:00:00", False, 20 * HOUR),
        ("20:00-24:00,00:00-06:00", "23:00:00", True, 7 * HOUR),
        ("08:00-10:00,09:00-12:00", "09:30:00", True, 2.5 * HOUR),
        ("08:00-10:00,10:00-12:00", "07:00:00", False, HOUR),
        ("00:00-24:00", "13:00:00", True, None),
        ("12:00-00:00,00:00-12:00", "13:00:00", True, None),
        ("", "13:00:00", True, None),
    ],
)
def test_edges_are_exact(hours: str, clock: str, is_open: bool, seconds: float | None) -> None:
    window = parse_time_window(hours)
    assert (window.is_open(at(clock)), window.seconds_until_change(at(clock))) == (is_open, seconds)


def test_hours_are_utc_whatever_zone_the_time_is_given_in() -> None:
    window, now = parse_time_window("22:00-05:00"), datetime(2026, 12, 15, 23, 30, tzinfo=timezone(timedelta(hours=2)))
    assert (window.is_open(now), window.seconds_until_change(now)) == (False, 0.5 * HOUR)


def test_local_hours_are_those_of_the_machine(zone: Callable[[str], None]) -> None:
    zone("Asia/Kolkata")
    window = parse_time_window("22:00-05:00 local")
    assert (window.is_open(at("16:29:59")), window.seconds_until_change(at("16:29:59"))) == (False, 1)
    assert (window.is_open(at("16:30:00")), window.seconds_until_change(at("16:30:00"))) == (True, 7 * HOUR)


@pytest.mark.parametrize(
    ("day", "clock", "seconds"),
    [
        ("2026-03-28", "22:00:00", 5 * HOUR),  # 23:00 standard time; 05:00 comes an hour earlier
        ("2026-10-24", "21:00:00", 7 * HOUR),  # 23:00 daylight saving time; 05:00 comes an hour later
        ("2026-03-29", "01:30:00", 1.5 * HOUR),
    ],
)
def test_the_night_on_which_clocks_are_changed_has_another_length(
    zone: Callable[[str], None], day: str, clock: str, seconds: float
) -> None:
    zone("Europe/Berlin")
    assert parse_time_window("22:00-05:00 local").seconds_until_change(at(clock, day)) == seconds


@pytest.mark.parametrize(
    ("clock", "is_open", "seconds"),
    [
        ("00:10:00", True, 20 * 60.0),  # 02:10, the first time
        ("00:40:00", False, None),  # 02:40, the first time: then the clock goes back to 02:00
        ("01:10:00", True, 20 * 60.0),  # 02:10, the second time
        ("01:40:00", False, None),
    ],
)
def test_a_repeated_hour_is_in_the_window_twice(
    zone: Callable[[str], None], clock: str, is_open: bool, seconds: float | None
) -> None:
    zone("Europe/Berlin")
    window, now = parse_time_window("01:00-02:30 local"), at(clock, "2026-10-25")
    assert window.is_open(now) == is_open
    if seconds:
        assert window.seconds_until_change(now) == seconds


NIGHTS = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),  # by half an hour
    ("Australia/Lord_Howe", "2026-10-04"),
    ("America/Santiago", "2026-09-06"),  # at midnight
    ("Pacific/Apia", "2011-12-30"),  # a day that did not exist
]
HOURS = ["01:30-02:30", "23:30-00:30,02:15-04:00", "02:15-02:45", "22:00-05:00", "00:00-03:00", "03:00-02:00"]


@pytest.mark.parametrize(
    ("hours", "day", "clock", "minutes"),
    [
        ("01:30-02:30 local", "2026-03-29", "00:33:00", 27),  # open until 02:00, which is 03:00
        ("02:15-02:45 local", "2026-03-28", "01:50:00", 46 * 60 + 25),  # does not occur on the 29th
        ("02:15-04:00 local", "2026-03-29", "00:50:00", 10),
        ("23:30-00:30,02:15-04:00 local", "2026-10-24", "22:30:00", 105),
        ("23:30-00:30,02:15-04:00 local", "2026-10-25", "00:30:00", 30),  # 02:30, and in 30 minutes 02:00 again
    ],
)
def test_an_edge_that_the_clocks_skip_or_repeat_is_where_the_hours_change(
    zone: Callable[[str], None], hours: str, day: str, clock: str, minutes: int
) -> None:
    zone("Europe/Berlin")
    assert parse_time_window(hours).seconds_until_change(at(clock, day)) == minutes * 60


@pytest.mark.parametrize(("name", "day"), NIGHTS)
def test_the_time_to_a_change_is_exact_on_every_night_of_a_clock_change(
    zone: Callable[[str], None], name: str, day: str
) -> None:
    zone(name)
    start = at("00:00:00", day) - timedelta(days=1)
    times = [start + timedelta(minutes=5 * step) for step in range(4 * 288)]
    for window in (parse_time_window(f"{hours} local") for hours in HOURS):
        states = [window.is_open(time) for time in times]
        for step in range(0, 2 * 288, 7):
            change = next((later for later in range(step, len(times)) if states[later] != states[step]), None)
            expected = None if change is None else (change - step) * 300.0
            if expected is None or expected <= 172_800:
                assert window.seconds_until_change(times[step]) == expected, (str(window), times[step])


MINUTES = st.integers(0, 1439)
SPANS = st.lists(st.tuples(MINUTES, MINUTES).filter(lambda span: span[0] != span[1]), max_size=4)


@given(spans=SPANS, now=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
def test_the_window_changes_exactly_at_its_announced_time(spans: list[tuple[int, int]], now: datetime) -> None:
    window = TimeWindow(tuple(spans))
    change, state = window.seconds_until_change(now), window.is_open(now)
    if change is None:
        assert all(window.is_open(now + timedelta(minutes=minute)) == state for minute in range(0, 1440, 7))
        return
    assert 0 < change <= 86_400
    changed_at = now + timedelta(seconds=change)
    assert window.is_open(changed_at) != state
    assert window.is_open(changed_at - timedelta(microseconds=1)) == state
    assert all(window.is_open(now + (changed_at - now) * part / 50) == state for part in range(50))


def test_always_is_open_and_never_changes() -> None:
    assert (ALWAYS.is_open(at("03:00:00")), ALWAYS.seconds_until_change(at("03:00:00")), str(ALWAYS)) == (
        True,
        None,
        "",
    )
