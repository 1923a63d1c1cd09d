"""What every test may ask for: the cast (who signs in) and their airlines."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ifeportal.models import Airline, Membership, User

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Cast:
    """Alice belongs to ACME, Bob to BETA; Olga of operations is staff, Ada a superuser, Nick belongs nowhere."""

    alice: User
    bob: User
    olga: User
    ada: User
    nick: User
    acme: Airline
    beta: Airline


@pytest.fixture
def cast(db: None) -> Cast:
    acme, beta = Airline.objects.create(name="ACME"), Airline.objects.create(name="BETA")
    users = {
        name: User.objects.create_user(name, password=PASSWORD, is_staff=name in ("olga", "ada"))
        for name in ("alice", "bob", "olga", "nick")
    }
    ada = User.objects.create_superuser("ada", password=PASSWORD)
    Membership.objects.create(user=users["alice"], airline=acme)
    Membership.objects.create(user=users["bob"], airline=beta)
    return Cast(**users, ada=ada, acme=acme, beta=beta)
