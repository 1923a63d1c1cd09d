"""Files are split into parts as boto3 does, within the limits of S3, without gaps or overlaps."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from s3transfer.utils import ChunksizeAdjuster

from campaigns.hashing.etags import file_etag
from loader.s3.part_plan import (
    MAX_PART_SIZE,
    MAX_PARTS,
    MIN_PART_SIZE,
    PART_SIZE,
    check_part_number,
    multipart_etag,
    part_size_for,
    plan_parts,
)

LARGEST = MAX_PARTS * MAX_PART_SIZE
SIZES = st.one_of(st.integers(0, 64 * PART_SIZE), st.integers(0, LARGEST))


@settings(max_examples=100, deadline=None)
@given(SIZES)
@example(0)
@example(1)
@example(PART_SIZE - 1)
@example(PART_SIZE)
@example(PART_SIZE + 1)
@example(MAX_PARTS * PART_SIZE)
@example(MAX_PARTS * PART_SIZE + 1)
@example(LARGEST)
def test_the_parts_are_the_whole_within_the_limits_of_s3(size: int) -> None:
    parts = list(plan_parts(size))
    assert 1 <= len(parts) <= MAX_PARTS
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert (parts[0].start, parts[-1].start + parts[-1].size) == (0, size)
    assert all(one.start + one.size == other.start for one, other in pairwise(parts))
    assert all(MIN_PART_SIZE <= part.size <= MAX_PART_SIZE for part in parts[:-1])
    assert parts[-1].size <= MAX_PART_SIZE


@given(SIZES)
@example(MAX_PARTS * PART_SIZE)
@example(MAX_PARTS * PART_SIZE + 1)
@example(LARGEST)
def test_the_size_of_a_part_is_the_one_boto3_chooses(size: int) -> None:
    assert part_size_for(size) == ChunksizeAdjuster().adjust_chunksize(PART_SIZE, size)


@pytest.mark.parametrize(("size", "smallest"), [(LARGEST + 1, PART_SIZE), (100, MIN_PART_SIZE - 1)])
def test_objects_too_large_for_any_plan_are_refused(size: int, smallest: int) -> None:
    with pytest.raises(ValueError, match="a multipart upload cannot"):
        part_size_for(size, smallest)


@pytest.mark.parametrize("number", [0, -1, MAX_PARTS + 1])
def test_a_number_no_part_may_have_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 10,000"):
        check_part_number(number)


def test_the_etag_of_an_object_determines_its_parts() -> None:
    digests = [hashlib.md5(body).digest() for body in (b"one", b"two")]
    etag = multipart_etag([digest.hex().upper() for digest in digests])
    assert etag == hashlib.md5(b"".join(digests)).hexdigest() + "-2"
    assert file_etag(digests, PART_SIZE + 1) == etag
    assert multipart_etag([digests[0].hex(), "opaque"]) == ""
