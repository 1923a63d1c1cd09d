"""Permissions of each role, which one module decides."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404

from ifeportal.access import Role, role_or_403, sees_every_airline
from ifeportal.models import Airline, User
from tests.conftest import Cast

MAY = {
    "nick": (),
    "alice": (Role.VIEWER,),
    "otto": (Role.VIEWER, Role.OPERATOR),
    "mona": tuple(Role),
    "bob": (),
    "bruno": (),
    "olga": tuple(Role),
    "ada": tuple(Role),
}


@pytest.mark.parametrize("name", MAY)
def test_each_role_may_what_the_one_before_may(cast: Cast, name: str) -> None:
    user: User = getattr(cast, name)
    for role in Role:
        rows = Airline.objects.with_role(user, role).filter(name="ACME")
        assert rows.exists() == (role in MAY[name]), role
        expected: type[Exception] | None = None
        if role not in MAY[name]:
            expected = PermissionDenied if name in ("alice", "otto") else Http404
        if expected:
            with pytest.raises(expected):
                role_or_403(Airline.objects.all(), user, role, name="ACME")
        else:
            assert role_or_403(Airline.objects.all(), user, role, name="ACME") == cast.acme


def test_a_role_at_one_airline_is_none_at_another(cast: Cast) -> None:
    cast.beta.memberships.create(user=cast.mona, role=Role.VIEWER)
    assert set(Airline.objects.visible_to(cast.mona)) == {cast.acme, cast.beta}
    assert list(Airline.objects.with_role(cast.mona, Role.OPERATOR)) == [cast.acme]


def test_the_limits_of_a_token_apply_to_every_user(cast: Cast) -> None:
    for name in ("mona", "olga", "ada"):
        user: User = getattr(cast, name)
        user.limited_to = cast.beta.pk
        assert not sees_every_airline(user)
        assert list(Airline.objects.visible_to(user)) == ([] if name == "mona" else [cast.beta])
        user.limited_to = None
        user.reads_only = True
        assert not Airline.objects.with_role(user, Role.VIEWER).exists()
        assert cast.acme in Airline.objects.visible_to(user)


def test_a_disabled_manager_has_no_access(cast: Cast) -> None:
    cast.mona.is_active = False
    assert not Airline.objects.with_role(cast.mona, Role.VIEWER).exists()
