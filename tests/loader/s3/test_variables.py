"""Variables of the store are cleaned, or refused with a sentence that names the variable and never its value."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from loader.s3.auth.environment import clean_variables

KEYS = {"AWS_ACCESS_KEY_ID": "AKEY", "AWS_SECRET_ACCESS_KEY": "the/sec+ret="}
VALUES = {
    **KEYS,
    "AWS_SESSION_TOKEN": "FwoGZXIv//token==",
    "AWS_REGION": "eu-central-1",
    "AWS_ENDPOINT_URL_S3": "https://s3.example.net",
    "AWS_ENDPOINT_URL": "http://[fd00::1]:9000/s3/",
    "HTTPS_PROXY": "http://crew:p%40ss@proxy:3128",
    "no_proxy": "10.0.0.0/8,.internal",
}


def cleaned(**environment: str) -> dict[str, str]:
    clean_variables(environment)
    return environment


def faults(**environment: str) -> list[str]:
    """Return the sentences of a refusal, and check that they contain no value."""
    with pytest.raises(ValueError, match=r".+") as refused:
        clean_variables(dict(environment))
    shown = "".join(traceback.format_exception(refused.value))
    assert "hunter2" not in shown
    return str(refused.value).splitlines()


@pytest.mark.parametrize(
    "form",
    ["{}", " {} ", "{}\r", "{}\r\n", "\t{}\n", '"{}"', "'{}'", '"{}"\r\n', "\ufeff{}", '\ufeff"{}"', "\u200b{}\u00a0"],
)
@pytest.mark.parametrize("name", VALUES)
def test_whitespace_and_quotes_around_a_value_are_removed(name: str, form: str) -> None:
    assert cleaned(**VALUES | {name: form.format(VALUES[name])}) == VALUES


@pytest.mark.parametrize("empty", [" ", "\r", '""', "''", "\ufeff"])
def test_a_value_of_nothing_is_unset(empty: str) -> None:
    assert cleaned(AWS_SESSION_TOKEN=empty, AWS_CA_BUNDLE=empty) == {}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("inside", ["\r", "\n", "\t", "\x00", "\x1b", "\x7f", "\x85"])
def test_a_control_character_inside_is_refused(name: str, inside: str) -> None:
    assert faults(**VALUES | {name: f"hunter2{inside}hunter2"}) == [
        f"{name} contains a control character, such as a line break. Set it again without it."
    ]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("AWS_ACCESS_KEY_ID", "\u0410hunter2", "contains a character that is not printable ASCII"),
        ("AWS_ACCESS_KEY_ID", "hunter2 hunter2", "contains a space"),
        ("AWS_SESSION_TOKEN", "hunter2\u2011", "contains a character that is not printable ASCII"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2\u200bhunter2", "contains a character that is not printable"),
        ("AWS_REGION", "eu\u2011hunter2", "must be the name of a region"),
        ("AWS_REGION", "hunter2/x", "must be the name of a region"),
        ("AWS_DEFAULT_REGION", "eu hunter2", "must be the name of a region"),
        ("AWS_ENDPOINT_URL_S3", "hunter2.example.net", "is not an http:// or https:// address"),
        ("AWS_ENDPOINT_URL_S3", "hunter2.example.net:9000", "is not an http:// or https:// address"),
        ("AWS_ENDPOINT_URL_S3", "s3://hunter2", "is not an http:// or https:// address"),
        ("AWS_ENDPOINT_URL_S3", "http:/hunter2", "is not an http:// or https:// address"),
        ("AWS_ENDPOINT_URL_S3", "http://hunter2:port", "is not an http:// or https:// address"),
        ("AWS_ENDPOINT_URL_S3", "http://hunter2 x", "is not an http:// or https:// address"),
        ("AWS_ENDPOINT_URL_S3", "http://hunter\u0432.example", "is not an http:// or https:// address"),
        ("AWS_ENDPOINT_URL_S3", "http://[::1", "is not an http:// or https:// address"),
        ("AWS_ENDPOINT_URL_S3", "https://crew:hunter2@store", "must not contain a user name or a password"),
        ("AWS_ENDPOINT_URL_S3", "https://store/?hunter2", "must not contain a query or a fragment"),
        ("AWS_ENDPOINT_URL", "hunter2", "is not an http:// or https:// address"),
        ("HTTPS_PROXY", "socks5://hunter2", "must be an http:// or https:// address"),
        ("HTTPS_PROXY", "http://crew:hunter2/x@proxy", "must be the address of a proxy"),
        ("AWS_CA_BUNDLE", "/hunter2.pem", "names a file that cannot be read (No such file or directory)."),
        ("AWS_CA_BUNDLE", "/", "names a directory, not a file of certificates."),
        ("AWS_CA_BUNDLE", __file__, "names a file without certificates in PEM format."),
        ("SSL_CERT_FILE", "/hunter2.pem", "names a file that cannot be read (No such file or directory)."),
    ],
)
def test_an_implausible_value_is_refused(name: str, value: str, sentence: str) -> None:
    (fault,) = faults(**VALUES | {name: value})
    assert fault.startswith(f"{name} {sentence}")
    assert fault.endswith(".")


@pytest.mark.parametrize("name", KEYS)
def test_half_a_pair_of_keys_is_refused(name: str) -> None:
    assert faults(**{name: "hunter2"}) == [
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together. Set both or neither."
    ]


def test_everything_wrong_is_reported_at_once() -> None:
    assert len(faults(AWS_REGION="a b", AWS_ENDPOINT_URL_S3="hunter2", AWS_ACCESS_KEY_ID="hunter2\n1")) == 3


def test_a_proxy_that_no_request_uses_is_not_checked() -> None:
    socks = {"HTTPS_PROXY": "socks5://proxy:1080"}
    cleaned(AWS_ENDPOINT_URL_S3="http://store:9000", **socks)
    cleaned(AWS_ENDPOINT_URL_S3="https://10.1.2.3", NO_PROXY="10.0.0.0/8", **socks)


@pytest.mark.parametrize("name", ["\ufeffAWS_REGION", "export AWS_REGION", "AWS_REGION ", "\ufeffLOADER_TAIL"])
def test_a_variable_with_something_before_its_name_is_not_passed_over(name: str) -> None:
    (fault,) = faults(**{name: "hunter2"})
    assert "is not set, because something precedes or follows its name" in fault


def test_a_command_keeps_its_lines_and_quotation_marks() -> None:
    command = "'/opt/my check' --once\nsecond"
    assert cleaned(LOADER_LINK_CHECK=f" {command}\r\n") == {"LOADER_LINK_CHECK": command}


# Files.


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
def test_a_key_may_be_in_a_file(name: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "value").write_bytes(f"{VALUES[name]}\r\n".encode(encoding))
    environment = {key: value for key, value in VALUES.items() if key != name}
    assert cleaned(**environment, **{f"{name}_FILE": f"{tmp_path / 'value'}\r"})[name] == VALUES[name]


def test_a_file_of_a_key_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("hunter2\nhunter2\n")
    assert faults(AWS_SECRET_ACCESS_KEY_FILE=str(tmp_path / "lines"))[0].startswith(
        "AWS_SECRET_ACCESS_KEY contains a control character"
    )
    (tmp_path / "empty").write_text(" \r\n")
    assert faults(AWS_SECRET_ACCESS_KEY_FILE=str(tmp_path / "empty")) == [
        "AWS_SECRET_ACCESS_KEY_FILE names an empty file."
    ]
    assert faults(AWS_SECRET_ACCESS_KEY_FILE="/hunter2") == [
        "AWS_SECRET_ACCESS_KEY_FILE names a file that cannot be read (No such file or directory)."
    ]


PROFILE = "[default]\naws_access_key_id = AKEY\naws_secret_access_key = hunter2\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xef\xbb\xbf" + PROFILE.encode(), "names a file that begins with a byte order mark"),
        (PROFILE.encode("utf-16"), "names a file that begins with a byte order mark"),
        (PROFILE.encode() + b"\xff", "names a file that is not text in UTF-8"),
        (b"aws_secret_access_key = hunter2\n", "names a file that is not made of [profile] sections (line 1)"),
        (b"[default]\nhunter2\n", "names a file that is not made of [profile] sections (line 2)"),
        (
            b"[default]\naws_access_key_id = AKEY hunter2\n",
            ": aws_access_key_id of [default] contains a space",
        ),
        (
            b"[default]\naws_session_token = hunter2\n  hunter2\n",
            ": aws_session_token of [default] contains a control character",
        ),
    ],
)
@pytest.mark.parametrize("variable", ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"])
def test_a_file_of_profiles_that_cannot_be_read_is_refused(
    variable: str, content: bytes, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "profiles").write_bytes(content)
    (fault,) = faults(**{variable: str(tmp_path / "profiles")})
    assert fault.startswith((f"{variable} {sentence}", f"{variable}{sentence}"))
    cleaned(**KEYS, **{variable: str(tmp_path / "profiles")})  # the keys are in the environment


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_file_of_profiles_may_have_line_ends_of_windows_and_quotation_marks(ends: str, tmp_path: Path) -> None:
    lines = ("[crew]", 'aws_access_key_id = "AKEY"', "aws_secret_access_key='the-secret' ", "")
    (tmp_path / "profiles").write_bytes(ends.join(lines).encode())
    cleaned(AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "profiles"), AWS_PROFILE="crew\r")


def test_a_file_at_its_default_place_is_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cleaned()
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("aws_secret_access_key = hunter2\n")
    (fault,) = faults()
    assert fault.startswith("AWS_SHARED_CREDENTIALS_FILE, ~/.aws/credentials by default, names a file that is not made")


def test_a_profile_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    (tmp_path / "profiles").write_text(PROFILE)
    files = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "profiles")}
    assert faults(**files, AWS_PROFILE="hunter2") == [
        "AWS_PROFILE names a profile that the files of credentials do not contain."
    ]
    assert faults(AWS_SHARED_CREDENTIALS_FILE="/hunter2") == [
        "AWS_SHARED_CREDENTIALS_FILE names a file that cannot be read (No such file or directory)."
    ]
