"""Messages that a browser sends over the live socket, parsed strictly, and the close codes. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ifeportal.live.registry import topic_names

MESSAGE_LIMIT = 4096
NAME_LIMIT = 200

SIGNED_OUT = 4403
UNKNOWN_AIRLINE = 4404


class BadMessage(ValueError):
    """The browser sent a message that does not follow the protocol."""


class Rejected(Exception):
    """The user has no access to what the socket asks for; the socket is closed with `code`."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class SubscribeRequest:
    """What a page shows: an airline (or all the user may see), a tail, a campaign (or any), some topics.

    `rev` is the revision the page was rendered at; None: only changes from now on. `acks`: the browser acknowledges
    what it has applied, and receives no more before it has.
    """

    airline: str | None
    tail: str
    campaign: str
    topics: frozenset[str]
    rev: int | None
    acks: bool


def parse_message(text: str) -> SubscribeRequest | int:
    """Parse a browser's message: a request to subscribe, or the revision it acknowledges. Raises BadMessage."""
    if len(text) > MESSAGE_LIMIT:
        raise BadMessage(f"A message may have at most {MESSAGE_LIMIT} characters.")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadMessage("A message must be JSON.") from error
    if not isinstance(message, dict):
        raise BadMessage("A message must be an object.")
    if "ack" in message:
        return _parse_revision(message["ack"], "ack")
    if not isinstance(message.get("watch"), dict):
        raise BadMessage('A message must have "watch" (an object) or "ack".')
    return _parse_subscribe(message["watch"], message)


def _parse_subscribe(watch: Mapping[str, Any], message: Mapping[str, Any]) -> SubscribeRequest:
    topics, known = watch.get("topics"), topic_names()
    if topics is not None and not (isinstance(topics, list) and all(topic in known for topic in map(str, topics))):
        raise BadMessage(f'"topics" must be a list of {", ".join(sorted(known))}.')
    rev = message.get("rev")
    return SubscribeRequest(
        airline=_parse_name(watch, "airline") or None,
        tail=_parse_name(watch, "tail"),
        campaign=_parse_name(watch, "campaign"),
        topics=frozenset(topics) if topics else known,
        rev=None if rev is None else _parse_revision(rev, "rev"),
        acks=message.get("acks") is True,
    )


def _parse_name(watch: Mapping[str, Any], key: str) -> str:
    name = watch.get(key) or ""
    if not isinstance(name, str) or len(name) > NAME_LIMIT:
        raise BadMessage(f'"{key}" must be a name of at most {NAME_LIMIT} characters, or null.')
    if any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in name):  # PostgreSQL text cannot contain these
        raise BadMessage(f'"{key}" has a character that no name can have.')
    return name


def _parse_revision(value: object, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise BadMessage(f'"{key}" must be a whole number of at least 0.')
    return value


def changes_message(rev: int, texts: Sequence[str] = ()) -> str:
    """Return the server's message of changes as JSON; with it the browser has everything up to `rev`."""
    return f'{{"rev":{rev},"changes":[{",".join(texts)}]}}'
