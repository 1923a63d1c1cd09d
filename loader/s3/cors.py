"""CORS rules of a bucket: which sites may send requests to it from browsers. Opens sockets through `transport`."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from loader.errors import Code, WorldError
from loader.s3.errors import NoSuchBucket
from loader.s3.http.transport import S3Request, S3Transport
from loader.s3.http.xml import namespace
from loader.s3.interface import CorsRule
from loader.s3.multipart.responses import optional_text, parse_response

MAX_RULES: Final = 100
UPLOAD_HEADERS: Final = ("content-type", "x-amz-checksum-sha256")
EXPOSED: Final = ("ETag",)
_MAX_AGE: Final = 3600  # seconds; browsers remember a rule for two hours at most
_LIMIT: Final = 65_536  # bytes; S3's own limit for these rules
_NAME: Final = "CORS rules"


def upload_rule(origins: Sequence[str]) -> CorsRule:
    """Return the rule that lets pages of these origins send the parts that the portal signs."""
    return CorsRule(tuple(origins), ("PUT",), UPLOAD_HEADERS, EXPOSED, _MAX_AGE)


def permits_uploads(rules: Sequence[CorsRule], origin: str) -> bool:
    """Whether pages of this origin may send parts and see their ETags. The first rule that fits counts."""
    for rule in rules:
        fits = _has(rule.origins, origin) and "PUT" in rule.methods
        if fits and all(_has(rule.headers, name) for name in UPLOAD_HEADERS):
            return all(_has(rule.exposed, name) for name in EXPOSED)
    return False


def _has(patterns: Sequence[str], text: str) -> bool:
    """Whether a pattern, which may contain one `*`, fits the text."""
    return any(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text, re.I) for pattern in patterns)


def aws_command(bucket: str, endpoint: str | None, rules: Sequence[CorsRule]) -> str:
    """Return the command that sets these rules with the AWS client, for who may do it."""
    names = {"origins": "AllowedOrigins", "methods": "AllowedMethods", "headers": "AllowedHeaders"}
    document = [
        {name: list(getattr(rule, field)) for field, name in {**names, "exposed": "ExposeHeaders"}.items()}
        | ({"MaxAgeSeconds": rule.max_age} if rule.max_age else {})
        for rule in rules
    ]
    where = f" --endpoint-url {endpoint}" if endpoint else ""
    configuration = shlex.quote(json.dumps({"CORSRules": document}))
    return f"aws s3api put-bucket-cors{where} --bucket {bucket} --cors-configuration {configuration}"


def get_cors(transport: S3Transport) -> list[CorsRule]:
    """Return the rules, an empty list without any. Raises WorldError."""
    request = S3Request("list", "GET", "", {}, query="cors=", limit=_LIMIT, name=f"GET {_NAME}")
    try:
        body = transport.call(request).body
    except WorldError as error:
        if error.code != Code.OBJECT_GONE or isinstance(error, NoSuchBucket):
            raise
        return []
    root = parse_response(body, ("CORSConfiguration",), str(request))
    return [_rule(element) for element in root.findall(f"{namespace(root)}CORSRule")]


def put_cors(transport: S3Transport, rules: Sequence[CorsRule]) -> None:
    """Replace all rules. Raises WorldError, ValueError for more rules than a bucket can have."""
    if len(rules) > MAX_RULES:
        raise ValueError(f"a bucket can have {MAX_RULES} CORS rules, not {len(rules)}")
    if not rules:  # S3 does not accept an empty list
        name = f"DELETE {_NAME}"
        transport.call(S3Request("delete", "DELETE", "", {}, query="cors=", accept=(200, 204), name=name))
        return
    body = f"<CORSConfiguration>{''.join(map(_element, rules))}</CORSConfiguration>".encode()
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()  # required by AWS
    headers = {"Content-MD5": md5, "Content-Type": "application/xml"}
    transport.call(
        S3Request("put", "PUT", "", headers, query="cors=", body=body, accept=(200, 204), name=f"PUT {_NAME}")
    )


def _rule(element: ElementTree.Element) -> CorsRule:
    def texts(name: str) -> tuple[str, ...]:
        return tuple(found.text or "" for found in element.findall(f"{namespace(element)}{name}"))

    age = optional_text(element, "MaxAgeSeconds")
    return CorsRule(
        texts("AllowedOrigin"),
        texts("AllowedMethod"),
        texts("AllowedHeader"),
        texts("ExposeHeader"),
        int(age) if age.isascii() and age.isdigit() else 0,
    )


def _element(rule: CorsRule) -> str:
    def elements(name: str, values: Sequence[str]) -> Iterator[str]:
        return (f"<{name}>{escape(value)}</{name}>" for value in values)

    age = [str(rule.max_age)] if rule.max_age else []
    fields = (
        *elements("AllowedOrigin", rule.origins),
        *elements("AllowedMethod", rule.methods),
        *elements("AllowedHeader", rule.headers),
        *elements("ExposeHeader", rule.exposed),
        *elements("MaxAgeSeconds", age),
    )
    return f"<CORSRule>{''.join(fields)}</CORSRule>"
