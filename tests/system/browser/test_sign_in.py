"""Signing in with a second factor and with a passkey, in a real browser; the admin obeys the CSP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.conf import global_settings
from django.test import override_settings
from playwright.sync_api import Browser, Page, expect

from ifeportal.models import User
from tests.conftest import PASSWORD, Cast
from tests.support.browser_portal import PATIENCE, BrowserSession, PortalProcess, axe_violations
from tests.system.browser.conftest import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.processes]
expect.set_options(timeout=PATIENCE)

ADMIN = ("/admin/", "/admin/ifeportal/user/", "/admin/ifeportal/user/add/", "/admin/axes/accessattempt/", "/api/docs/")


@dataclass(frozen=True)
class ByName:
    """The portal at a host name: browsers have no passkeys for IP addresses."""

    address: str


@pytest.fixture
def alice(cast: Cast) -> User:
    """Return Alice with a password hashed by the portal's own hasher."""
    with override_settings(PASSWORD_HASHERS=global_settings.PASSWORD_HASHERS):
        cast.alice.set_password(PASSWORD)
        cast.alice.save()
    return cast.alice


def type_password(page: Page) -> None:
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def type_code(page: Page, secret: str, label: str, done: Callable[[], bool]) -> None:
    """Enter the code of the app; of the next 30-second step if the current one expires or was used."""
    used = set[str]()
    while not done():
        code = format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time())))
        if code in used:
            page.wait_for_timeout(200)
            continue
        used.add(code)
        page.get_by_label(label).fill(code)
        with page.expect_navigation():
            page.keyboard.press("Enter")


def test_one_sets_up_an_app_and_signs_in_with_it(portal: PortalProcess, alice: User, visit: Visitor) -> None:
    window = visit(None)
    page = window.go("/account/", live=False)
    type_password(page)
    assert axe_violations(page) == []
    page.get_by_role("link", name="Set up an authenticator app").click()
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".qr svg")).to_be_visible()
    assert axe_violations(page) == []
    secret = page.locator(".secret code").inner_text()
    type_code(page, secret, "Six-digit code", lambda: "/codes/" in page.url)
    expect(page.locator(".codes li")).to_have_count(10)
    page.goto("/logout/")
    page.locator("main").get_by_role("button", name="Sign out").click()
    type_password(page)
    page.get_by_role("heading", name="Second factor").wait_for()
    assert axe_violations(page) == []
    type_code(page, secret, "Code", lambda: "second-factor" not in page.url)
    page.get_by_role("link", name="ACME", exact=True).wait_for()
    assert window.complaints == []


def test_one_adds_a_passkey_and_signs_in_with_it_alone(portal: PortalProcess, alice: User, browser: Browser) -> None:
    window = BrowserSession(browser, ByName(f"http://localhost:{portal.port}"), None)
    page = window.page
    devices = window.context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    device = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    ready = {"isUserVerified": True, "automaticPresenceSimulation": True}
    devices.send("WebAuthn.addVirtualAuthenticator", {"options": device | ready})
    window.go("/account/passkeys/add/", live=False)
    type_password(page)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Name").fill("work laptop")
    page.get_by_label("Sign in without a password").check()
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".codes li")).to_have_count(10)
    page.goto("/account/")
    expect(page.locator("strong", has_text="work laptop")).to_be_visible()
    page.goto("/logout/")
    page.locator("main").get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_role("link", name="ACME", exact=True).wait_for()
    assert window.complaints == []
    window.context.close()


def test_the_admin_and_the_page_of_the_api_keep_to_the_content_policy(
    portal: PortalProcess, cast: Cast, visit: Visitor
) -> None:
    window = visit(cast.ada)
    for path in ADMIN:
        window.go(path, live=False).wait_for_load_state("networkidle")
    assert window.complaints == []
