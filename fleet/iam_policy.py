"""IAM policies with the least permissions of an aircraft, for AWS and for SeaweedFS. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from ifeportal.embedded.seaweedfs import Identity
from loader.contract.keys import (
    content_key,
    heartbeat_key,
    manifest_key,
    queue_key,
    queue_signature_key,
    signature_key,
)
from loader.contract.names import TGZ, check_name
from loader.errors import BadName

_LIKE_A_MANIFEST: Final = "campaign"  # the tail whose queue has the same file name as every manifest
_WILD: Final = re.compile(r"[*?$]")


def iam_policy(airline: str, tail: str, media: str, status: str) -> dict[str, Any]:
    """Return the AWS policy for the user or role of one aircraft. `media` and `status` are buckets. Raises BadName."""
    of_airline, of_tail = _literal(airline), _literal(tail)
    reads = [*_of_campaigns(of_airline), queue_key(of_airline, of_tail), queue_signature_key(of_airline, of_tail)]
    statements = [
        _allow("s3:GetObject", [_arn(media, key) for key in reads]),
        _allow("s3:ListBucket", f"arn:aws:s3:::{media}")
        | {"Condition": {"StringLike": {"s3:prefix": f"{of_airline}/*"}}},
        _allow(["s3:PutObject", "s3:DeleteObject"], _arn(status, f"{of_airline}/{of_tail}/*")),
        _allow("s3:GetObject", _arn(status, heartbeat_key(of_airline, of_tail))),
        _allow("s3:ListBucket", f"arn:aws:s3:::{status}")
        | {"Condition": {"StringLike": {"s3:prefix": f"{of_airline}/{of_tail}/*"}}},
    ]
    # `<airline>/*/campaign.json` also matches `.fleet/campaign.json`, the queue of the tail named "campaign".
    if tail != _LIKE_A_MANIFEST:
        foreign = (queue_key(of_airline, _LIKE_A_MANIFEST), queue_signature_key(of_airline, _LIKE_A_MANIFEST))
        resources = [_arn(media, key) for key in foreign]
        statements.append({"Effect": "Deny", "Action": "s3:GetObject", "Resource": resources})
    return {"Version": "2012-10-17", "Statement": statements}


def seaweedfs_identity(airline: str, tail: str, media: str, status: str) -> Identity:
    """Return the SeaweedFS identity of one aircraft, named like the tail.

    Raises BadName, also for names that SeaweedFS would read as patterns.
    """
    for name in (airline, tail):
        if set(check_name(name)) & set("*?"):
            raise BadName(f"the name {name!a} holds a wildcard, which SeaweedFS reads as a pattern")
    return Identity(
        tail,
        (
            *(f"Read:{media}/{key}" for key in _of_campaigns(airline)),
            f"Read:{media}/{_one(queue_key(airline, tail))}",
            f"Read:{media}/{_one(queue_signature_key(airline, tail))}",
            f"List:{media}/{airline}/*",
            f"Write:{status}/{airline}/{tail}/*",
            f"Read:{status}/{_one(heartbeat_key(airline, tail))}",
            f"List:{status}/{airline}/{tail}/*",
        ),
    )


def _of_campaigns(airline: str) -> list[str]:
    """Return the key patterns of all objects of campaigns that a loader reads."""
    content = content_key(airline, "*", "*")
    in_capitals = content.removesuffix(TGZ) + TGZ.upper()  # as tools on Windows upload it
    return [content, in_capitals, manifest_key(airline, "*"), signature_key(airline, "*")]


def _allow(action: str | list[str], resource: str | list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def _arn(bucket: str, key: str) -> str:
    return f"arn:aws:s3:::{bucket}/{key}"


def _literal(name: str) -> str:
    """Return a valid name with its wildcards escaped."""
    return _WILD.sub(lambda sign: f"${{{sign[0]}}}", check_name(name))


def _one(key: str) -> str:
    """Return a pattern for one key that ends with `.json` or `.json.dsse`."""
    name, _, rest = key.rpartition(".json")
    return f"{name}?json{rest}"
