"""One rule for names of buckets, on the aircraft as on the ground."""

from __future__ import annotations

import pytest

from ifeportal.conf.environment import ConfigError, read_config
from loader.config import SettingsError, read_settings
from loader.s3.bucket_names import check_bucket_name

LEAST = {"airline": "ACME", "tail": "N1", "content_dir": ["/content"]}
VALID = ("abc", "ife-media", "ife.media", "0films9", "a" * 63, "1.2.3.4.5", "films-s3", "xn-films")
INVALID = (
    "s3://ife-media",
    "s3://ife-media/",
    "ife-media/",
    "ife-media/films",
    "/ife-media",
    "ab",
    "a" * 64,
    "Ife-Media",
    "ife_media",
    "ife media",
    "-ife",
    "ife-",
    ".ife",
    "ife.",
    "ife..media",
    "192.168.5.4",
    "xn--films",
    "sthree-films",
    "amzn-s3-demo-films",
    "films-s3alias",
    "films--ol-s3",
    "films.mrap",
    "films--x-s3",
    "films--table-s3",
    "f\u0456lms",
    "ife\u2011media",
    "\u201cife-media\u201d",
    "'ife-media",
    "status",
    "healthz",
    "ife\u200b-media",
)


@pytest.mark.parametrize("name", VALID)
def test_a_valid_name_is_used_on_both_sides(name: str) -> None:
    assert check_bucket_name(name) == name
    assert read_settings(LEAST, {"MEDIA_BUCKET": name}).media_bucket == name
    assert read_config({"MEDIA_BUCKET": name}).media_bucket == name


@pytest.mark.parametrize("name", INVALID)
@pytest.mark.parametrize("variable", ["MEDIA_BUCKET", "STATUS_BUCKET"])
def test_an_invalid_name_is_refused_with_the_same_sentence(variable: str, name: str) -> None:
    with pytest.raises(SettingsError) as in_loader:
        read_settings(LEAST, {variable: name})
    with pytest.raises(ConfigError) as in_portal:
        read_config({variable: name})
    assert str(in_loader.value) == str(in_portal.value)
    assert str(in_loader.value).startswith(f"{variable} must ")
    assert name in ("status", "healthz") or name not in str(in_loader.value)


def test_the_two_buckets_differ() -> None:
    with pytest.raises(SettingsError, match="MEDIA_BUCKET and STATUS_BUCKET must be different buckets"):
        read_settings(LEAST, {"MEDIA_BUCKET": "films", "STATUS_BUCKET": "films"})
