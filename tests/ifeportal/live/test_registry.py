"""Apps register their topics, and a new topic needs nothing else."""

from __future__ import annotations

import json
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from fleet.feed import TOPICS, prune_feed
from fleet.models import Tail
from ifeportal.live.feed import FeedChange, publish
from ifeportal.live.models import Change
from ifeportal.live.registry import Topic, register, topic_names
from ifeportal.models import Membership
from tests.conftest import Cast
from tests.support.api_fleet import ClientOf
from tests.support.gate_app import gate_app
from tests.support.live_sockets import open_socket, publish_now, publish_now_async
from tests.support.portal_forks import run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
CHANGES = "/api/v1/changes/"
# A topic with the name of one of the fleet's, in an app that loads after the fleet.
CLASH = """
import sys, types
from ifeportal import settings
from django.apps import AppConfig
class Clash(AppConfig):
    name, path = "clash", "."
    def ready(self):
        from ifeportal.live.registry import Topic, register
        register(Topic("load"))
sys.modules["clash"] = types.ModuleType("clash")
sys.modules["clash"].Clash = Clash
settings.INSTALLED_APPS.append("clash.Clash")
import django
django.setup()
"""


def test_the_apps_register_what_they_publish() -> None:
    assert topic_names() == {"airline", "campaign", "tail", "load", "transfer", "operation", "my_operation"}


def test_the_same_definition_may_be_registered_again() -> None:
    register(*TOPICS)


def test_a_name_that_is_taken_by_another_definition_is_an_error() -> None:
    with pytest.raises(ImproperlyConfigured, match="'load' is registered twice"):
        register(Topic("load", Tail))


def test_the_portal_does_not_start_with_two_definitions_of_one_topic() -> None:
    settings = {"DJANGO_SETTINGS_MODULE": "ifeportal.settings", "DEBUG": "1"}
    started = run([sys.executable, "-c", CLASH], env=settings)
    assert "ImproperlyConfigured: The topic 'load' is registered twice" in started.stderr


@pytest.mark.parametrize("name", ["", "Load", "two words", "a:b", "a" * 21])
def test_a_name_that_no_page_could_write_is_refused(name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="must have 1 to 20"):
        register(Topic(name))


@pytest.mark.usefixtures("gates")
async def test_a_socket_hears_of_a_topic_that_a_later_app_registered(cast: Cast) -> None:
    async with open_socket(cast.alice) as alice:
        await alice.watch(airline="ACME", topics=["gate"], rev=0)
        await publish_now_async(cast.acme, 1)
        await publish_now_async(cast.acme, 2, topic="gate", open=True)
        (change,) = await alice.changes()
    assert change == {"topic": "gate", "object": 2, "op": "put", "state": {"open": True}}


async def test_an_unregistered_topic_cannot_be_requested(cast: Cast) -> None:
    async with open_socket(cast.alice) as alice:
        answer = await alice.watch(topics=["gate"], rev=0)
    topics = "airline, campaign, load, my_operation, operation, tail, transfer"
    assert answer == {"error": f'"topics" must be a list of {topics}.'}


def test_programs_may_ask_for_it_once_it_is_registered(cast: Cast, client_of: ClientOf) -> None:
    assert client_of(cast.alice).get(f"{CHANGES}?since=0&topic=gate").status_code == 400
    with gate_app():
        rev = publish_now(cast.acme, 2, topic="gate", open=True)
        answer = client_of(cast.alice).get(f"{CHANGES}?since={rev - 1}&topic=gate").json()
        schema = json.dumps(client_of(cast.alice).get("/api/schema/?format=json").json()["components"]["schemas"])
    assert [change["object"] for change in answer["changes"]] == [2]
    topics = ["airline", "campaign", "gate", "load", "my_operation", "operation", "tail", "ticket", "transfer"]
    assert json.dumps(topics) in schema


@pytest.mark.usefixtures("gates")
def test_objects_of_it_that_vanish_are_published_as_deleted(cast: Cast) -> None:
    member = Membership.objects.get(user=cast.alice)
    publish_now(cast.acme, member.pk, topic="gate")
    publish_now(None, 1, topic="ticket", user_id=cast.alice.pk)
    assert prune_feed().deletions_published == 0
    member.delete()
    assert prune_feed().deletions_published == 1
    assert Change.objects.get(topic="gate").op == "delete"


@pytest.mark.usefixtures("gates")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (FeedChange("colour", 1, 1), "not registered"),
        (FeedChange("gate", 1, None), "must name an airline"),
        (FeedChange("gate", 1, None, user_id=1), "must name an airline"),
        (FeedChange("gate", 1, 1, tail="N1"), "scoped by airline only"),
        (FeedChange("tail", 1, 1, campaign="2026-12"), "scoped by airline, tail only"),
        (FeedChange("ticket", 1, None), "must have a user"),
        (FeedChange("ticket", 1, 1, user_id=1), "must not name an airline"),
        (FeedChange("gate", 1, 1, min_role="operator", user_id=1), "not for both"),
    ],
)
def test_fields_that_a_topic_does_not_allow_are_not_published(cast: Cast, change: FeedChange, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence), transaction.atomic():
        publish([change])
