r"""Environment variables of the store, cleaned and checked at process start, before anything reads them.

Files written on Windows and secrets made with `echo` end in a line break, `docker --env-file` keeps quotation marks,
editors add byte order marks. A request cannot contain these, and libraries that read the environment themselves
(botocore, urllib, requests) use every value as it is. Touches only the given mapping, and reads the files that
variables name. No text contains a value.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Final

from loader.s3.auth.profiles import profile_faults
from loader.s3.auth.values import (
    check_access_key,
    check_region,
    check_secret,
    check_token,
    clean_setting,
    clean_text,
    control_character_fault,
    read_text_file,
)
from loader.s3.http.proxies import proxy_for
from loader.s3.http.urls import check_endpoint

_STORE: Final = re.compile(
    r"AWS_.*|(?i:(?:https?|all|no)_proxy)|(?:MEDIA|STATUS)_BUCKET|SSL_CERT_(?:FILE|DIR)|(?:REQUESTS|CURL)_CA_BUNDLE",
    re.S,
)
_LOADER: Final = re.compile(r"LOADER_.*", re.S)  # commands may have several lines; options are checked when parsed
# Variables whose value may be in the file that NAME_FILE names.
FILE_VARIABLES: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL_S3",
)
_CHECKS: Final[Mapping[str, Callable[[str], object]]] = {
    "AWS_ACCESS_KEY_ID": check_access_key,
    "AWS_SECRET_ACCESS_KEY": check_secret,
    "AWS_SESSION_TOKEN": check_token,
    "AWS_SECURITY_TOKEN": check_token,
    "AWS_REGION": check_region,
    "AWS_DEFAULT_REGION": check_region,
    "AWS_ENDPOINT_URL_S3": check_endpoint,
    "AWS_ENDPOINT_URL": check_endpoint,
}
_BEFORE_NAME: Final = re.compile(r"^(?:[\ufeff\s\"']|export\s)+")


def clean_variables(environment: MutableMapping[str, str]) -> None:
    """Clean the variables, read those that are in files, and unset empty ones.

    Raises ValueError, one sentence per line, for every value that cannot be meant.
    """
    faults = misnamed_variables(environment, lambda name: bool(_STORE.fullmatch(name) or _LOADER.fullmatch(name)))
    for name in sorted(environment):
        if _LOADER.fullmatch(name):
            _replace(environment, name, clean_text(environment[name]))
        elif _STORE.fullmatch(name):
            _replace(environment, name, clean_setting(environment[name]))
    faults += _read_files(environment)
    faults += [fault for name in sorted(environment) for fault in _value_faults(name, environment[name])]
    if not faults:  # the others would be consequences
        faults = [*_pair_faults(environment), *_connection_faults(environment), *profile_faults(environment)]
    if faults:
        raise ValueError("\n".join(faults))


def misnamed_variables(environment: Iterable[str], is_known: Callable[[str], bool]) -> list[str]:
    """Return a sentence for each variable whose name has something before it, as the first line of some files has."""
    found = []
    for given in environment:
        name = _BEFORE_NAME.sub("", given).rstrip()
        if name != given and is_known(name):
            found.append(
                f"{name} is not set, because something precedes or follows its name: a byte order mark, a space or "
                "the word export. Save the file of variables without it."
            )
    return found


def _replace(environment: MutableMapping[str, str], name: str, value: str) -> None:
    if value and value != environment[name]:
        environment[name] = value
    elif not value and environment[name]:
        del environment[name]


def _read_files(environment: MutableMapping[str, str]) -> list[str]:
    faults = []
    for name in FILE_VARIABLES:
        path = environment.get(f"{name}_FILE")
        if not path or environment.get(name):
            continue
        try:
            value = clean_setting(read_text_file(path))
        except ValueError as error:
            faults.append(f"{name}_FILE {error}.")
            continue
        if value:
            environment[name] = value
        else:
            faults.append(f"{name}_FILE names an empty file.")
    return faults


def _value_faults(name: str, value: str) -> Iterator[str]:
    if not value or not _STORE.fullmatch(name):
        return
    if fault := control_character_fault(value):
        yield f"{name} {fault}. Set it again without it."
        return
    try:
        _CHECKS.get(name, str)(value)
    except ValueError as error:
        yield f"{name} {error}."


def _pair_faults(environment: Mapping[str, str]) -> Iterator[str]:
    if bool(environment.get("AWS_ACCESS_KEY_ID")) != bool(environment.get("AWS_SECRET_ACCESS_KEY")):
        yield "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together. Set both or neither."


def _connection_faults(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield faults of certificates, and of the proxy if requests to the store would use it."""
    bundle = environment.get("AWS_CA_BUNDLE")
    for name in ("AWS_CA_BUNDLE",) if bundle else ("SSL_CERT_FILE",):
        if (path := environment.get(name)) and (fault := bundle_fault(path)):
            yield f"{name} {fault}."
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    try:
        proxy_for(endpoint or "https://s3.amazonaws.com", environment)
    except ValueError as error:
        yield f"{error}."


def bundle_fault(path: str) -> str:
    """Return why a file of CA certificates cannot be used, "" if it can."""
    try:
        file = Path(path).expanduser()
        if file.is_dir():
            return "names a directory, not a file of certificates"
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except ssl.SSLError:  # a subclass of OSError
        return "names a file without certificates in PEM format"
    except OSError as error:
        return f"names a file that cannot be read ({error.strerror})"
    except RuntimeError:  # a home directory that is unknown
        return "names a file that cannot be read (its home directory is unknown)"
    return ""
