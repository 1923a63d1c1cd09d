"""The stores that the product is tried against: their documented differences from Amazon S3, one profile each."""

from __future__ import annotations

from typing import Final

from tests.support.store_quirks import ExpectedFinding, StoreProfile, Trouble

ITEM: Final = "*/movie-001.tgz"
MANIFEST: Final = "*/campaign.json"
HEARTBEAT: Final = "*/loader.json"
PROGRESS: Final = "*.progress"

NO_CONDITIONS: Final = (
    ExpectedFinding("create", "warning", "The store does not support If-None-Match"),
    ExpectedFinding("replace", "warning", "The store does not support If-Match"),
)

PROFILES: Final = (
    StoreProfile(
        "Amazon S3",
        "API reference, Error responses: 500 InternalError and 503 SlowDown are to be retried; conditional writes may "
        "get 409 ConditionalRequestConflict (User Guide, Conditional writes). Bodies may be sent in chunks.",
        folder_markers=True,
        trouble=(
            Trouble("GET", ITEM, 503, "SlowDown"),
            Trouble("LIST", "*", 500, "InternalError"),
            Trouble("PUT", HEARTBEAT, 409, "ConditionalRequestConflict"),
            Trouble("PUT", MANIFEST, 409, "ConditionalRequestConflict"),
        ),
    ),
    StoreProfile(
        "Amazon S3 with Object Lock",
        "User Guide, Object Lock: with default retention, PUT needs Content-MD5 or a checksum (s3tools/s3cmd 1177, "
        "minio/mc 3892).",
        content_md5_required=True,
        versioned="kept",
        findings=(ExpectedFinding("clean-up", "warning", "The bucket keeps versions"),),
    ),
    StoreProfile(
        "MinIO",
        "cmd/api-errors.go: 503 SlowDownRead and SlowDownWrite; minio/minio 21463: pages of any length.",
        page_size=2,
        trouble=(Trouble("GET", ITEM, 503, "SlowDownRead"), Trouble("PUT", PROGRESS, 503, "SlowDownWrite")),
    ),
    StoreProfile(
        "Ceph RGW behind nginx",
        "nginx, ngx_http_gzip_module: strong ETags become weak; aws/aws-sdk-java PR 2380 (Ceph). Consoles create "
        "folder markers.",
        object_etag="weak",
        folder_markers=True,
        findings=(
            ExpectedFinding("etags", "warning", "The ETags of objects are weak."),
            ExpectedFinding("replace", "warning", "ETags are weak"),
        ),
        trouble=(Trouble("GET", ITEM, 502, body="html"), Trouble("LIST", "*", 503, "SlowDown", retry_after=0)),
    ),
    StoreProfile(
        "Cloudflare R2",
        "R2, S3 API compatibility: region auto, us-east-1 is an alias. R2, Limits: 429 for a second write of a key "
        "within a second. Cloudflare, 5xx errors: 520 to 527 are passing.",
        regions=("auto", "us-east-1"),
        page_size=2,
        trouble=(
            Trouble("GET", ITEM, 520, body="html"),
            Trouble("GET", MANIFEST, 524, body="html"),
            Trouble("PUT", HEARTBEAT, 429, "TooManyRequests"),
            Trouble("LIST", "*", 525, body="html"),
        ),
    ),
    StoreProfile(
        "Backblaze B2",
        "sathinduga/obsidian-s3-sync-and-backup 78: conditional PUT is 501. S3-Compatible API, Unsupported features: "
        "x-amz-checksum headers are 400 InvalidArgument. S3-Compatible API, Bucket versions: always versioned.",
        regions=("us-west-004",),
        conditional_put="501",
        checksums_refused=True,
        versioned="deletable",
        findings=(
            *NO_CONDITIONS,
            ExpectedFinding("checksums", "ok", "The store refuses checksum headers."),
            ExpectedFinding("part-sums", "warning", "begin upload of"),
            ExpectedFinding("clean-up", "ok", "All test objects were deleted."),
        ),
        trouble=(
            Trouble("GET", ITEM, 503, "ServiceUnavailable", retry_after=0),
            Trouble("PUT", PROGRESS, 408, "RequestTimeout"),
        ),
    ),
    StoreProfile(
        "DigitalOcean Spaces",
        "slatedb/slatedb 1818: If-Match of a PUT is taken without quotes only, else 412.",
        regions=("fra1", "us-east-1"),
        conditional_put="unquoted",
        findings=(
            ExpectedFinding("replace", "ok", "Unchanged objects can be replaced, with the ETag without quotes."),
        ),
        trouble=(Trouble("GET", ITEM, 503, "SlowDown", body="empty"),),
    ),
    StoreProfile(
        "Google Cloud Storage, S3 interoperability",
        "Transcoding of gzip-compressed files; gaul/undocumented-s3-apis 4: conditions on generations, not ETags; "
        "XML API: bodies in chunks. Quotas: 429 for repeated writes of an object.",
        regions=("auto", "us-east-1"),
        key_count="absent",
        conditional_put="ignored",
        findings=(
            ExpectedFinding("create", "warning", "The store ignores If-None-Match"),
            ExpectedFinding("replace", "warning", "The store ignores If-Match"),
        ),
        transcodes=True,
        chunked=True,
        trouble=(Trouble("PUT", HEARTBEAT, 429, "SlowDown"), Trouble("GET", ITEM, 425)),
    ),
    StoreProfile(
        "Garage",
        "PhantomPhoton/S3-Compatible 28: 400 AuthorizationHeaderMalformed for another region than garage. Garage, S3 "
        "compatibility: encoding-type=url differs (iterate-ch/cyberduck 15264: a plus is not encoded).",
        regions=("garage",),
        plus_unencoded=True,
        findings=(ExpectedFinding("names", "ok", "Names with any character are listed as they were written."),),
    ),
    StoreProfile(
        "SeaweedFS",
        "seaweedfs/seaweedfs 10279: pages without entries that are truncated; 500 while a volume is allocated.",
        empty_first_page=True,
        trouble=(Trouble("GET", ITEM, 500, "InternalError"),),
    ),
    StoreProfile(
        "MinIO gateway to Azure",
        "minio/minio 13497: ETags in listings are 0x8D…-1, those of objects MD5.",
        listing_etag="azure-1",
        findings=(ExpectedFinding("etags", "ok", "ETags in listings differ from those of objects."),),
        trouble=(Trouble("GET", ITEM, 503, body="html"),),
    ),
    StoreProfile(
        "s3proxy to Azure",
        "gaul/s3proxy 724: ETags are 0x8D…; gaul/s3proxy PR 893: conditional PUT was not supported before.",
        listing_etag="azure",
        object_etag="azure",
        conditional_put="412",
        findings=(
            ExpectedFinding("list", "warning", "Listings work"),
            ExpectedFinding("create", "warning", "The store wrongly refuses If-None-Match"),
            ExpectedFinding("replace", "warning", "The store wrongly refuses If-Match"),
        ),
        year_one=True,
        error_body="html",
        trouble=(Trouble("GET", ITEM, 500, body="empty"),),
    ),
    StoreProfile(
        "s3ninja",
        "scireum/s3ninja 251: KeyCount is that of the bucket. aria2/aria2 926: Content-Range with unknown size.",
        listing_etag="upper",
        object_etag="upper",
        key_count="of the bucket",
        unknown_size=True,
        no_date=True,
        findings=(
            ExpectedFinding("clock", "warning", "The store does not send its time."),
            ExpectedFinding("get", "ok", "Objects can be read in ranges, without their size."),
        ),
    ),
    StoreProfile(
        "s3gw",
        "s3gw-tech/s3gw 598: no ETag in listings; s3gw-tech/s3gw 674: conditional PUT is 501.",
        listing_etag="absent",
        conditional_put="501",
        trouble=(Trouble("GET", ITEM, 504, body="html"),),
        findings=(*NO_CONDITIONS, ExpectedFinding("list", "warning", "Listings work")),
    ),
    StoreProfile(
        "Alibaba Cloud OSS",
        "OSS, Error codes: SecondLevelDomainForbidden, the bucket has to be part of the host name (peak/s5cmd 518).",
        path_style_refused=True,
        trouble=(Trouble("GET", ITEM, 503, "ServiceUnavailable"),),
    ),
)
BY_NAME: Final = {profile.name: profile for profile in PROFILES}
