"""Settings of an airline: permissions, refused values, and how logo and colour are served."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image, PngImagePlugin

from fleet.choices import ServiceStatus
from fleet.models import Tail
from ifeportal.airlines.branding import JPEG_SCAN_LIMIT, LOGO_SIZE, PIXEL_LIMIT, UPLOAD_LIMIT, BadLogo, render_logo
from ifeportal.live.models import Change
from ifeportal.models import Airline, AuditEntry
from tests.conftest import Cast

PAGE = "/airlines/ACME/settings/"
THRESHOLDS = {"stalled_after_minutes": "20", "silent_after_hours": "12", "risk_before_hours": "72"}
LOOKS = {"title": "Acme Air", "colour": "#AA2200", "contact": "Duty desk: +1 555 0100\nroom 4"}


def picture(width: int, height: int, kind: str = "PNG", **more: object) -> bytes:
    out = BytesIO()
    Image.new("RGB", (width, height), (200, 30, 0)).save(out, kind, **more)
    return out.getvalue()


def claiming(width: int, height: int) -> bytes:
    """Return a PNG whose header claims another size than its data has."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def layered(count: int) -> bytes:
    """Return a JPEG that repeats its last scan `count` times: small, but slow to decode."""
    plain = picture(64, 64, "JPEG", progressive=True)
    last = plain[plain.rfind(b"\xff\xda") : -2]
    return plain[:-2] + last * count + plain[-2:]


def signed_in(client: Client, cast: Cast, name: str) -> Client:
    client.force_login(getattr(cast, name))
    return client


def acme() -> Airline:
    return Airline.objects.get(name="ACME")


def test_an_operator_sets_the_thresholds_and_nothing_else(cast: Cast, client: Client) -> None:
    otto = signed_in(client, cast, "otto")
    assert b'name="title"' not in otto.get(PAGE).content
    assert otto.post(PAGE, THRESHOLDS | LOOKS).status_code == 302
    row = acme()
    assert (row.stalled_after_minutes, row.silent_after_hours, row.risk_before_hours) == (20, 12, 72)
    assert (row.title, row.colour, row.contact) == ("", "", "")
    entry = AuditEntry.objects.get()
    assert (entry.who, entry.action, entry.airline, entry.via) == ("otto", "airline.settings", row, "page")
    assert entry.changes["stalled_after_minutes"] == [10, 20]


def test_a_manager_sets_how_the_airline_looks_and_pages_hear_of_it(cast: Cast, client: Client) -> None:
    mona = signed_in(client, cast, "mona")
    logo = SimpleUploadedFile("logo.png", picture(600, 100))
    assert mona.post(PAGE, THRESHOLDS | LOOKS | {"new_logo": logo}).status_code == 302
    row = acme()
    assert (row.title, row.colour, row.contact) == ("Acme Air", "#aa2200", "Duty desk: +1 555 0100\nroom 4")
    assert row.logo_tag
    assert Change.objects.get(topic="airline").state["title"] == "Acme Air"
    assert AuditEntry.objects.get().changes["title"] == ["", "Acme Air"]
    assert mona.post(PAGE, THRESHOLDS | LOOKS | {"remove_logo": "on"}).status_code == 302
    assert acme().logo_tag == ""
    assert mona.get("/airlines/ACME/logo.png").status_code == 404


def test_an_unchanged_form_writes_no_audit_entry(cast: Cast, client: Client) -> None:
    otto = signed_in(client, cast, "otto")
    for _ in range(2):
        otto.post(PAGE, THRESHOLDS)
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("stalled_after_minutes", "0", "greater than or equal to 1"),
        ("stalled_after_minutes", "1441", "less than or equal to 1440"),
        ("silent_after_hours", "soon", "Enter a whole number"),
        ("risk_before_hours", "", "required"),
        ("colour", "red", "Write it as #1a2b3c."),
        ("colour", "#12345", "Write it as #1a2b3c."),
        ("contact", "x" * 1001, "at most 1000 characters"),
    ],
)
def test_a_value_that_is_not_offered_is_refused_beside_its_field(
    cast: Cast, client: Client, field: str, value: str, words: str
) -> None:
    answer = signed_in(client, cast, "mona").post(PAGE, THRESHOLDS | LOOKS | {field: value})
    assert answer.status_code == 400
    assert words in " ".join(answer.context["form"].errors[field])
    assert acme().title == ""
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_logo_is_redrawn_small_and_in_proportion(kind: str) -> None:
    drawn = Image.open(BytesIO(render_logo(picture(1000, 250, kind))))
    assert (drawn.format, drawn.size) == ("PNG", (256, 64))


def test_a_picture_in_a_few_layers_is_as_good_as_any() -> None:
    assert render_logo(layered(10))


def test_only_the_pixels_of_an_upload_are_stored() -> None:
    guest = PngImagePlugin.PngInfo()
    guest.add_text("Comment", "<script>alert(1)</script>")
    drawn = render_logo(picture(50, 50, pnginfo=guest) + b"<?php hidden ?>")
    assert b"script" not in drawn
    assert b"php" not in drawn
    assert Image.open(BytesIO(drawn)).info == {}
    small = Image.open(BytesIO(drawn)).size
    assert small == (50, 50) <= LOGO_SIZE


@pytest.mark.parametrize(
    ("upload", "words"),
    [
        (b"", "not a readable image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a readable image"),
        (b"GIF89a\x01\0\x01\0\0\0\0;", "not a readable image"),
        (b"\x89PNG\r\n\x1a\n", "not a readable image"),
        (picture(100, 100)[:60], "not a readable image"),
        (claiming(100, 100), "not a readable image"),
        (claiming(PIXEL_LIMIT, 2), "pixels"),
        (claiming(2**31 - 1, 2**31 - 1), "pixels"),
        (layered(JPEG_SCAN_LIMIT), "too many scans"),
        (b"x" * (UPLOAD_LIMIT + 1), "1 MB"),
    ],
    ids=["empty", "svg", "gif", "only a beginning", "cut", "short", "many pixels", "a bomb", "layers", "too long"],
)
def test_an_invalid_picture_is_refused_with_the_reason(upload: bytes, words: str) -> None:
    with pytest.raises(BadLogo, match=words):
        render_logo(upload)


def test_a_bad_logo_keeps_nothing_of_the_form(cast: Cast, client: Client) -> None:
    bad = SimpleUploadedFile("logo.png", b"no picture at all")
    answer = signed_in(client, cast, "mona").post(PAGE, THRESHOLDS | LOOKS | {"new_logo": bad})
    assert answer.status_code == 400
    assert "not a readable image" in str(answer.context["form"].errors["new_logo"])
    assert acme().title == acme().logo_tag == ""


def test_logo_and_colour_are_served_to_the_airline_alone_and_not_sent_twice(cast: Cast, client: Client) -> None:
    mona = signed_in(client, cast, "mona")
    for path in ("logo.png", "brand.css"):
        assert mona.get(f"/airlines/ACME/{path}").status_code == 404
    mona.post(PAGE, THRESHOLDS | LOOKS | {"new_logo": SimpleUploadedFile("x.png", picture(9, 9))})
    for path, kind in (("logo.png", "image/png"), ("brand.css", "text/css; charset=utf-8")):
        answer = mona.get(f"/airlines/ACME/{path}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "private" in answer.headers["Cache-Control"]
        again = mona.get(f"/airlines/ACME/{path}", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert mona.get("/airlines/ACME/brand.css").content == b":root { --brand: #aa2200; }\n"
    bob = signed_in(client, cast, "bob")
    for path in ("logo.png", "brand.css", "settings/"):
        assert bob.get(f"/airlines/ACME/{path}").status_code == 404


def test_an_operator_takes_a_tail_out_of_service_and_names_its_type(cast: Cast, client: Client) -> None:
    Tail.objects.create(airline=cast.acme, name="N1")
    otto = signed_in(client, cast, "otto")
    answer = otto.post("/airlines/ACME/tails/N1/duty/", {"duty": "stored", "aircraft_type": "A321neo"})
    assert answer.headers["Location"] == "/airlines/ACME/tails/N1/"
    tail = Tail.objects.get()
    assert (tail.duty, tail.aircraft_type) == (ServiceStatus.STORED, "A321neo")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target, entry.changes["duty"]) == ("tail.duty", "N1", ["active", "stored"])
    assert Change.objects.get(topic="tail").state["duty"] == "stored"


@pytest.mark.parametrize("given", [{}, {"duty": "flying"}, {"duty": "stored", "aircraft_type": "x" * 101}])
def test_a_duty_that_is_none_changes_nothing(cast: Cast, client: Client, given: dict[str, str]) -> None:
    Tail.objects.create(airline=cast.acme, name="N1")
    otto = signed_in(client, cast, "otto")
    assert otto.post("/airlines/ACME/tails/N1/duty/", given).status_code == 302
    assert Tail.objects.get().duty == ServiceStatus.ACTIVE
    assert not AuditEntry.objects.exists()
