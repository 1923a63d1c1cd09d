"""How stores differ from Amazon S3, imposed by the fault proxy on the real store of the tests.

A `StoreProfile` lists the quirks of one store. `QuirkyStore` is the fault that imposes them: it changes requests (and
signs them again, as the store would receive other headers otherwise) and responses, and counts each quirk it applied.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from fleet.simulation.faults import ERROR_XML, Chunks, Fault, Head, Request, Rule
from fleet.simulation.proxy import FaultProxy
from loader.s3.auth.credentials import S3Credentials
from loader.s3.auth.sigv4 import sign_request
from loader.s3.http.urls import AddressingStyle, quote_query

EtagForm = Literal["md5", "weak", "upper", "unquoted", "azure", "azure-1", "absent"]
"""How an ETag is written: as MD5 in quotes, as W/"…", in capitals, without quotes, as 0x8D…, as 0x8D…-1, not at all."""
Conditions = Literal["supported", "unquoted", "501", "412", "ignored"]
"""What a conditional PUT does: works, takes only unquoted ETags, is refused in two ways, or is not looked at."""
Body = Literal["xml", "html", "empty"]

HTML: Final = b"<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Web server error</h1></body></html>"
_ETAG: Final = re.compile(rb"<ETag>(?:&quot;|&#34;|\")?([^<&\"]*)(?:&quot;|&#34;|\")?</ETag>")
_SCOPE: Final = re.compile(r"Credential=[^/]+/[0-9]{8}/([^/]*)/s3/aws4_request, SignedHeaders=([^,]+),")
_CHECKSUMS: Final = ("x-amz-checksum", "x-amz-sdk-checksum", "x-amz-trailer")
_EMPTY_PAGE: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Name>b</Name><Prefix></Prefix><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>"
    b"<IsTruncated>true</IsTruncated><NextContinuationToken>after-nothing</NextContinuationToken></ListBucketResult>"
)


@dataclass(frozen=True)
class Trouble:
    """A passing error: the first `times` requests with this method ("LIST" for a listing) for a key like `key`."""

    method: str
    key: str
    status: int
    code: str = ""
    body: Body = "xml"
    retry_after: int | None = None
    times: int = 1


@dataclass(frozen=True)
class ExpectedFinding:
    """What `loader.s3.check` says in both buckets, as far as it tries it there."""

    check: str
    outcome: Literal["ok", "warning", "missing"]
    text: str


@dataclass(frozen=True)
class StoreProfile:
    """The documented quirks of a store. The defaults are those of Amazon S3. `source` says where they are described.

    `regions`: those that a request may be signed for, empty for all. `page_size`: entries that a page of a listing has
    at most. `versioned`: the bucket keeps versions, which may or may not be deleted. `transcodes`: unpacks gzip for
    clients that do not accept it. `findings`: what a check of the store says of it, beginnings of texts by bucket and
    check; those of checks that are ok may be left out.
    """

    name: str
    source: str
    listing_etag: EtagForm = "md5"
    object_etag: EtagForm = "md5"
    key_count: Literal["right", "absent", "of the bucket"] = "right"
    plus_unencoded: bool = False
    folder_markers: bool = False
    year_one: bool = False
    page_size: int | None = None
    empty_first_page: bool = False
    conditional_put: Conditions = "supported"
    checksums_refused: bool = False
    content_md5_required: bool = False
    path_style_refused: bool = False
    regions: tuple[str, ...] = ()
    unknown_size: bool = False
    transcodes: bool = False
    no_date: bool = False
    chunked: bool = False
    versioned: Literal["no", "deletable", "kept"] = "no"
    error_body: Body = "xml"
    trouble: tuple[Trouble, ...] = ()
    findings: tuple[ExpectedFinding, ...] = ()

    @property
    def addressing(self) -> AddressingStyle:
        """The value of AWS_S3_ADDRESSING_STYLE to configure."""
        return "virtual" if self.path_style_refused else "path"

    @property
    def region(self) -> str:
        """The region to configure."""
        return self.regions[0] if self.regions else "us-east-1"


def write_etag(etag: str, form: EtagForm) -> str:
    """Return the value of the header for an ETag of the real store (without quotes)."""
    digest, dash, parts = etag.partition("-")
    return {
        "md5": f'"{etag}"',
        "weak": f'W/"{etag}"',
        "upper": f'"{etag.upper()}"',
        "unquoted": etag,
        "azure": f'"0x8D{digest.upper()}{dash}{parts}"',
        "azure-1": f'"0x8D{digest.upper()}{dash}{parts}-1"',
        "absent": "",
    }[form]


def read_etag(text: str, form: EtagForm) -> str:
    """Return the ETag of the real store for one that a client sends, with or without quotes."""
    bare = text.removeprefix("W/").strip('"')
    if form in ("azure", "azure-1"):
        bare = bare.removeprefix("0x8D").lower()
    return bare.lower() if form == "upper" else bare


class QuirkyStore(Fault):
    """The quirks of one store. `happened` counts each of them, by the name of its field."""

    def __init__(self, profile: StoreProfile, keys: S3Credentials) -> None:
        self.profile, self.keys = profile, keys
        self.happened: Counter[str] = Counter()

    def for_request(self, request: Request) -> Fault:
        return _Exchange(self, request)

    def impose(self, proxy: FaultProxy) -> list[Rule]:
        """Add the quirks and the trouble to the proxy; return the rules of the trouble."""
        rules = [proxy.add(_rule(each, self.profile)) for each in self.profile.trouble]
        proxy.add(Rule(self, "*", times=None))
        return rules


def _rule(trouble: Trouble, profile: StoreProfile) -> Rule:
    fault = _Refused(trouble.status, trouble.code, trouble.body, trouble.retry_after)
    return Rule(fault, trouble.method, trouble.key, times=trouble.times)


@dataclass
class _Refused(Fault):
    status: int
    code: str
    form: Body = "xml"
    retry_after: int | None = None

    async def answer(self) -> tuple[Head, bytes]:
        body = {"xml": ERROR_XML.format(self.code).encode(), "html": HTML, "empty": b""}[self.form]
        headers = {"Content-Type": "text/html" if self.form == "html" else "application/xml"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return Head(self.status, headers, len(body)), body


class _Exchange(Fault):
    """One request to a quirky store and its response."""

    def __init__(self, store: QuirkyStore, request: Request) -> None:
        self._store, self._profile, self._request = store, store.profile, request
        self._is_listing = request.method == "GET" and "list-type=" in request.target
        self._refusal = self._refuse()
        if self._refusal is None:
            self._translate()

    async def answer(self) -> tuple[Head, bytes] | None:
        return await self._refusal.answer() if self._refusal else None

    def head(self, head: Head) -> None:
        self._hide_headers(head)
        if self._form != "md5" and not self._is_part and (etag := head.find("ETag")):
            head.drop("ETag")
            if written := write_etag(etag.strip('"'), self._form):
                head.headers["ETag"] = written
            self._count("object_etag")
        if self._profile.transcodes and head.find("Content-Encoding") == "gzip":
            self._count("transcodes")  # also if gzip is accepted
        if self._rewrites_body(head):
            head.length = None
        # What is stored compressed has a length, unless it is unpacked on the way.
        encoded = bool(head.find("Content-Encoding"))
        if self._profile.chunked and self._request.method == "GET" and head.length and not encoded:
            head.length = None
            self._count("chunked")

    async def body(self, chunks: Chunks, head: Head) -> Chunks:
        if head.status >= 400 and self._profile.error_body != "xml" and self._request.method != "HEAD":
            self._count("error_body")
            yield HTML if self._profile.error_body == "html" else b""
        elif self._is_listing and head.status == 200:
            yield self._listing(b"".join([chunk async for chunk in chunks]))
        elif self._is_transcoded(head):
            yield gzip.decompress(b"".join([chunk async for chunk in chunks]))
        elif self._request.method == "POST" and self._form != "md5":
            yield _ETAG.sub(self._xml_etag(self._form), b"".join([chunk async for chunk in chunks]))
        else:
            async for chunk in chunks:
                yield chunk

    # Requests.

    def _refuse(self) -> Fault | None:
        """Return the response of a store that refuses the request, None if it does not."""
        profile, request = self._profile, self._request
        scope = _SCOPE.search(request.find("Authorization"))
        if profile.regions and scope and scope.group(1) not in profile.regions:
            return self._refused("regions", 400, "AuthorizationHeaderMalformed")
        if profile.path_style_refused and not self._host_bucket:
            return self._refused("path_style_refused", 403, "SecondLevelDomainForbidden")
        if "versionId=" in request.target:
            return _Refused(403, "AccessDenied") if profile.versioned == "kept" else _Answer(b"", 204)
        if self._is_listing and profile.empty_first_page and "continuation-token" not in request.target:
            return self._empty_page()
        if request.find("If-Match").startswith("W/"):  # never matches (RFC 9110, 13.1.1)
            return self._refused("object_etag", 412, "PreconditionFailed")
        return self._refuse_write() if request.method in ("PUT", "POST") else None

    def _refuse_write(self) -> Fault | None:
        profile, request = self._profile, self._request
        names = {name.lower() for name, _ in request.headers}
        if profile.checksums_refused and any(name.startswith(_CHECKSUMS) for name in names):
            return self._refused("checksums_refused", 400, "InvalidArgument")
        md5 = request.find("Content-MD5")
        if profile.content_md5_required and request.method == "PUT":
            self._count("content_md5_required")  # also if it is there
            if not md5:
                return self._refused("content_md5_required", 400, "InvalidRequest")
        if md5 and md5 != base64.b64encode(hashlib.md5(request.body, usedforsecurity=False).digest()).decode():
            return self._refused("bad_digest", 400, "BadDigest")
        if not {"if-match", "if-none-match"} & names:
            return None
        if profile.conditional_put == "501":
            return self._refused("conditional_put", 501, "NotImplemented")
        if profile.conditional_put == "412" or (
            profile.conditional_put == "unquoted" and '"' in request.find("If-Match")
        ):
            return self._refused("conditional_put", 412, "PreconditionFailed")
        return None

    def _refused(self, quirk: str, status: int, code: str) -> Fault:
        self._count(quirk)
        return _Refused(status, code, self._profile.error_body)

    def _empty_page(self) -> Fault:
        self._count("empty_first_page")
        return _Answer(_EMPTY_PAGE)

    def _translate(self) -> None:
        """Change the request to what the real store understands, and sign it again if it was changed."""
        profile, request = self._profile, self._request
        before = (request.target, list(request.headers))
        for at, (name, value) in enumerate(request.headers):
            if name.lower() in ("if-match", "if-none-match", "x-amz-copy-source-if-match") and value != "*":
                request.headers[at] = (name, f'"{read_etag(value, profile.object_etag)}"')
        if profile.conditional_put == "ignored" and request.method in ("PUT", "POST"):
            conditional = [pair for pair in request.headers if pair[0].lower() in ("if-match", "if-none-match")]
            self._count("conditional_put", len(conditional))
            request.headers[:] = [pair for pair in request.headers if pair not in conditional]
        if self._is_listing:
            self._change_query()
        if bucket := self._host_bucket:
            request.target = f"/{bucket}{request.target}"
            self._count("path_style_refused")
        if (request.target, request.headers) != before:
            self._sign_again()

    def _change_query(self) -> None:
        path, _, query = self._request.target.partition("?")
        values = {name: unquote(value) for name, _, value in (pair.partition("=") for pair in query.split("&"))}
        if values.get("continuation-token") == "after-nothing":
            del values["continuation-token"]
        if self._profile.page_size and int(values.get("max-keys", "1000")) > self._profile.page_size:
            values["max-keys"] = str(self._profile.page_size)
            self._count("page_size")
        self._request.target = f"{path}?{quote_query(values)}"

    def _sign_again(self) -> None:
        request = self._request
        scope = _SCOPE.search(request.find("Authorization"))
        assert scope
        signed = {*scope.group(2).split(";")} - {"x-amz-date", "x-amz-content-sha256", "x-amz-security-token"}
        headers = {name: value for name, value in request.headers if name.lower() in signed}
        new = sign_request(
            request.method,
            request.target,
            headers,
            request.find("X-Amz-Content-SHA256"),
            credentials=self._store.keys,
            region=scope.group(1),
            now=datetime.now(UTC),
        )
        replaced = {name.lower() for name in new}
        request.headers[:] = [pair for pair in request.headers if pair[0].lower() not in replaced] + list(new.items())

    # Responses.

    def _hide_headers(self, head: Head) -> None:
        profile = self._profile
        if profile.unknown_size and head.status == 206:
            known = head.find("Content-Range")
            head.drop("Content-Range")
            head.headers["Content-Range"] = re.sub(r"/\d+$", "/*", known)
            self._count("unknown_size")
        if profile.no_date and head.find("Date"):
            head.drop("Date")
            self._count("no_date")
        if profile.versioned != "no" and self._request.method in ("PUT", "DELETE") and head.status in (200, 204):
            head.headers["x-amz-version-id"] = "4_z6145af89f355ac2f74ed0c1b_v04"
            self._count("versioned")
            if self._request.method == "DELETE":
                head.headers["x-amz-delete-marker"] = "true"

    def _rewrites_body(self, head: Head) -> bool:
        if self._request.method == "HEAD" or head.status in (204, 304):
            return False
        if head.status >= 400:
            return self._profile.error_body != "xml"
        return self._is_listing or self._is_transcoded(head) or (self._request.method == "POST" and self._form != "md5")

    def _is_transcoded(self, head: Head) -> bool:
        accepted = self._request.find("Accept-Encoding")
        return (
            self._profile.transcodes
            and self._request.method == "GET"
            and head.status == 200
            and head.find("Content-Encoding") == "gzip"
            and "gzip" not in accepted
        )

    def _listing(self, page: bytes) -> bytes:
        profile = self._profile
        changes: list[tuple[str, bool, bytes, bytes | Callable[[re.Match[bytes]], bytes]]] = [
            ("listing_etag", profile.listing_etag != "md5", _ETAG.pattern, self._xml_etag(profile.listing_etag)),
            ("key_count", profile.key_count == "absent", rb"<KeyCount>\d+</KeyCount>", b""),
            ("key_count", profile.key_count == "of the bucket", rb"<KeyCount>\d+<", b"<KeyCount>50493<"),
            ("blank", profile.plus_unencoded, rb"\+(?=[^<>]*</(?:Key|Prefix)>)", b"%20"),  # unlike SeaweedFS
            ("plus_unencoded", profile.plus_unencoded, rb"%2B(?=[^<>]*</(?:Key|Prefix)>)", b"+"),
            ("year_one", profile.year_one, rb"<LastModified>[^<]*<", b"<LastModified>0001-01-01T00:00:00Z<"),
        ]
        for quirk, applies, pattern, replacement in changes:
            if applies:
                page, count = re.subn(pattern, replacement, page)
                self._count(quirk, count)
        return self._with_folder_markers(page) if profile.folder_markers else page

    def _with_folder_markers(self, page: bytes) -> bytes:
        """Add the empty objects that consoles create for folders, as every store but SeaweedFS lists them."""
        query = self._request.target.partition("?")[2]
        prefix = next((p[7:].replace("%2F", "/") for p in query.split("&") if p.startswith("prefix=")), "")
        if not prefix.endswith("/") or b"<IsTruncated>true" in page or b"<KeyCount>" not in page:
            return page
        if "delimiter=" in query:
            added = f"<CommonPrefixes><Prefix>{prefix}an-empty-folder/</Prefix></CommonPrefixes>"
        else:
            entry = "<Contents><Key>{}</Key><LastModified>2026-11-21T03:00:00.000Z</LastModified>" + (
                "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>0</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
            )
            added = entry.format(prefix) + entry.format(f"{prefix}an-empty-folder/")
        self._count("folder_markers")
        count = int(page.partition(b"<KeyCount>")[2].partition(b"<")[0]) + (1 if "delimiter=" in query else 2)
        page = re.sub(rb"<KeyCount>\d+<", b"<KeyCount>%d<" % count, page)
        return page.replace(b"</ListBucketResult>", added.encode() + b"</ListBucketResult>")

    def _xml_etag(self, form: EtagForm) -> Callable[[re.Match[bytes]], bytes]:
        def write(match: re.Match[bytes]) -> bytes:
            text = write_etag(match.group(1).decode(), form)
            return f"<ETag>{text}</ETag>".replace('"', "&quot;").encode() if text else b""

        return write

    @property
    def _form(self) -> EtagForm:
        return self._profile.object_etag

    @property
    def _is_part(self) -> bool:
        return "partNumber=" in self._request.target

    @property
    def _host_bucket(self) -> str:
        """The bucket, if it is in the host name."""
        host = urlsplit(f"//{self._request.find('Host')}").hostname or ""
        bucket, dot, rest = host.partition(".")
        return bucket if dot and not rest.replace(".", "").isdigit() and not bucket.isdigit() else ""

    def _count(self, quirk: str, times: int = 1) -> None:
        self._store.happened[quirk] += times


@dataclass
class _Answer(Fault):
    content: bytes
    status: int = 200

    async def answer(self) -> tuple[Head, bytes]:
        return Head(self.status, {"Content-Type": "application/xml"}, len(self.content)), self.content
