"""A manager uploads files from a browser. They arrive, whatever happens to the network, the tab and the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, expect

from campaigns.drafts import requests
from campaigns.library.models import LibraryItem
from campaigns.models import Draft
from campaigns.uploads.announcements.part_plan import plan_parts
from campaigns.uploads.models import Upload, UploadStatus
from fleet.simulation.faults import ErrorResponse, Rule
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.live.feed import COUNTER_ID
from ifeportal.live.models import Counter
from ifeportal.models import User
from loader.contract.units import MIB
from tests.conftest import Cast
from tests.support.browser_portal import PATIENCE, BrowserSession, axe_violations
from tests.support.browser_uploads import (
    PART,
    UploadPage,
    UploadSite,
    only_upload,
    session,
    upload_site,
    write_file,
)
from tests.support.bucket_pool import FreshBuckets
from tests.support.portal_system import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.processes]

LANES = 4
Opened = Callable[..., UploadPage]


@pytest.fixture(scope="module")
def site_of_module(
    django_db_setup: None,
    tmp_path_factory: pytest.TempPathFactory,
    seaweed: SeaweedFS,
    fresh_buckets: FreshBuckets,
    browser: Browser,
) -> Iterator[UploadSite]:
    expect.set_options(timeout=PATIENCE)
    with upload_site(tmp_path_factory.mktemp("uploads"), seaweed, fresh_buckets.take(), browser) as site:
        yield site


@pytest.fixture
def site(site_of_module: UploadSite, transactional_db: None) -> Iterator[UploadSite]:
    """Return the site with an empty database and a fast link."""
    Counter.objects.update_or_create(pk=COUNTER_ID, defaults={"rev": time.time_ns() // 1_000_000})
    site_of_module.link.log.clear()
    yield site_of_module
    site_of_module.release()
    site_of_module.link.online()


@pytest.fixture
def open_page(site: UploadSite) -> Iterator[Opened]:
    """Open the uploads page in a new window: `open_page(user, **options of the context)`."""
    sessions: list[BrowserSession] = []

    def begin(user: User, **options: object) -> UploadPage:
        sessions.append(session(site, user, **options))
        return UploadPage(sessions[-1])

    yield begin
    for one in sessions:
        one.context.close()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of six parts, more than there are lanes."""
    return write_file(tmp_path_factory.mktemp("film") / "film.mp4", 5 * PART + 7)


def wait_for_parts(site: UploadSite, number: int) -> None:
    """Wait until the store has received so many parts."""
    wait_for("parts arrive", lambda: len([e for e in site.link.requests("PUT", "*/data") if e.status == 200]) >= number)


def test_a_file_is_sent_in_parts_checked_and_placed_in_the_library(
    cast: Cast, site: UploadSite, open_page: Opened, tmp_path: Path
) -> None:
    film = write_file(tmp_path / "safety.mp4", 2 * PART + 1)
    shown = open_page(cast.mona)
    shown.choose(film)
    shown.wait_for("safety.mp4", "processing")
    assert site.bytes_sent() == film.stat().st_size
    assert [each.status for each in site.link.requests("PUT", "*/data")] == [200, 200, 200]
    site.work_until("the file is placed", lambda: shown.state_of("safety.mp4") == "uploaded")
    assert only_upload().status == UploadStatus.UPLOADED
    assert LibraryItem.objects.get().name == "safety.mp4"
    assert site.media.get("ACME/.library/safety.mp4.tgz", 1) is not None
    listed = shown.page.locator(".uploads-list tbody tr", has_text="safety.mp4")
    expect(listed.locator('[data-field="status"]')).to_have_text("uploaded")
    assert shown.session.complaints == []


def test_a_reload_in_the_middle_sends_no_part_twice_that_the_store_has(
    cast: Cast, site: UploadSite, open_page: Opened, film: Path
) -> None:
    site.hold_after(2)
    shown = open_page(cast.mona)
    shown.page.on("dialog", lambda dialog: dialog.accept())
    shown.choose(film)
    wait_for_parts(site, 2)
    shown.page.reload()
    shown.wait_for("film.mp4", "unfinished")
    expect(shown.row("film.mp4")).to_contain_text("Choose the same file again to continue")
    site.release()
    shown.choose(film)
    shown.wait_for("film.mp4", "processing")
    size = film.stat().st_size
    assert size <= site.bytes_sent() <= size + LANES * PART
    assert Upload.objects.count() == 1
    assert only_upload().completed_at is not None


@pytest.mark.thorough
def test_another_file_of_the_same_name_does_not_continue_the_upload(
    cast: Cast, site: UploadSite, open_page: Opened, film: Path, tmp_path: Path
) -> None:
    site.hold_after(1)
    shown = open_page(cast.mona)
    shown.page.on("dialog", lambda dialog: dialog.accept())
    shown.choose(film)
    wait_for_parts(site, 1)
    shown.page.reload()
    shown.wait_for("film.mp4", "unfinished")
    site.release()
    shown.choose(write_file(tmp_path / "film.mp4", MIB))
    expect(shown.row("film.mp4")).to_contain_text("Choose the original file")
    assert shown.state_of("film.mp4") == "unfinished"


def test_the_network_may_fail_for_a_while(cast: Cast, site: UploadSite, open_page: Opened, film: Path) -> None:
    site.hold_after(1)
    shown = open_page(cast.mona)
    shown.choose(film)
    wait_for_parts(site, 1)
    shown.session.context.set_offline(True)
    site.link.offline()
    expect(shown.row("film.mp4")).to_contain_text("cannot be reached")
    site.release()
    site.link.online()
    shown.session.context.set_offline(False)
    shown.wait_for("film.mp4", "processing")
    size = film.stat().st_size
    assert size <= site.bytes_sent() <= size + LANES * PART


def test_two_tabs_never_send_one_upload_and_the_second_continues_when_the_first_dies(
    cast: Cast, site: UploadSite, open_page: Opened, film: Path
) -> None:
    site.hold_after(1)
    first = open_page(cast.mona)
    first.choose(film)
    wait_for_parts(site, 1)
    second = UploadPage(first.session.another_tab())
    second.wait_for("film.mp4", "elsewhere")
    expect(second.row("film.mp4")).to_contain_text("Being uploaded in another tab")
    first.page.close()
    second.wait_for("film.mp4", "unfinished")
    site.release()
    second.choose(film)
    second.wait_for("film.mp4", "processing")
    size = film.stat().st_size
    assert size <= site.bytes_sent() <= size + LANES * PART
    assert Upload.objects.count() == 1


@pytest.mark.thorough
def test_a_refused_signature_is_replaced_by_a_new_one(
    cast: Cast, site: UploadSite, open_page: Opened, tmp_path: Path
) -> None:
    rule = site.link.add(Rule(ErrorResponse(403, "AccessDenied"), method="PUT", times=3))
    shown = open_page(cast.mona)
    shown.choose(write_file(tmp_path / "late.mp4", MIB))
    shown.wait_for("late.mp4", "processing")
    assert rule.hits == 3
    assert only_upload().completed_at is not None


def test_an_upload_begins_when_a_store_that_was_away_is_back(
    cast: Cast, site: UploadSite, open_page: Opened, tmp_path: Path
) -> None:
    site.link.offline()
    shown = open_page(cast.mona)
    shown.choose(write_file(tmp_path / "late.mp4", MIB))
    expect(shown.row("late.mp4")).to_contain_text("Next attempt in")
    assert only_upload().store_upload_id == ""
    site.link.online()
    site.work_until("the upload begins", lambda: only_upload().store_upload_id)
    shown.wait_for("late.mp4", "processing")


def test_cancelling_deletes_the_upload(cast: Cast, site: UploadSite, open_page: Opened, film: Path) -> None:
    site.hold_after(1)
    shown = open_page(cast.mona)
    shown.page.on("dialog", lambda dialog: dialog.accept())
    shown.choose(film)
    wait_for_parts(site, 1)
    shown.press("film.mp4", "cancel")
    shown.row("film.mp4").wait_for(state="detached")
    assert only_upload().status == UploadStatus.DELETED


@pytest.mark.thorough
def test_pausing_keeps_what_was_sent(cast: Cast, site: UploadSite, open_page: Opened, film: Path) -> None:
    site.hold_after(1)
    shown = open_page(cast.mona)
    shown.choose(film)
    wait_for_parts(site, 1)
    shown.press("film.mp4", "pause")
    shown.wait_for("film.mp4", "paused")
    site.release()
    shown.press("film.mp4", "continue")
    shown.wait_for("film.mp4", "processing")
    size = film.stat().st_size
    assert size <= site.bytes_sent() <= size + LANES * PART


def test_a_file_that_changes_while_it_is_sent_fails_with_a_sentence(
    cast: Cast, site: UploadSite, open_page: Opened, tmp_path: Path
) -> None:
    path = write_file(tmp_path / "moving.mp4", 5 * PART)
    site.hold_after(1)
    shown = open_page(cast.mona)
    shown.choose(path)
    wait_for_parts(site, 1)
    write_file(path, 5 * PART + 1)
    site.release()
    site.reset_connections()
    row = shown.wait_for("moving.mp4", "failed")
    expect(row).to_contain_text("The file has changed since it was chosen")
    expect(row).to_contain_text("choose the file again")
    assert only_upload().completed_at is None


@pytest.mark.thorough
def test_twenty_small_files_share_the_lanes(cast: Cast, site: UploadSite, open_page: Opened, tmp_path: Path) -> None:
    files = [write_file(tmp_path / f"song-{number:02}.mp3", 10_000 + number) for number in range(20)]
    shown = open_page(cast.mona)
    shown.choose(*files)
    for path in files:
        shown.wait_for(path.name, "processing")
    assert Upload.objects.filter(completed_at__isnull=False).count() == 20
    assert site.bytes_sent() == sum(path.stat().st_size for path in files)


@pytest.mark.thorough
def test_leaving_the_page_asks_while_bytes_are_unsent(
    cast: Cast, site: UploadSite, open_page: Opened, film: Path
) -> None:
    site.hold_after(1)
    shown = open_page(cast.mona)
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    shown.page.on("dialog", stay)
    shown.choose(film)
    shown.wait_for("film.mp4", "sending")
    shown.page.get_by_role("heading", name="Uploads", exact=True).click()  # browsers ask only after a gesture
    shown.page.close(run_before_unload=True)
    wait_for("the browser asks", lambda: shown.page.evaluate("1") and asked)
    assert asked == ["beforeunload"]


ADD_MANY = """() => {
    const file = (n) => new File(["x".repeat(n + 1)], `track-${n}.mp3`);
    const files = Array.from({length: 1000}, (_, n) => ({file: file(n), handle: null}));
    document.querySelector("file-uploads").take({files, skipped: 0, tooMany: false});
}"""


@pytest.mark.thorough
def test_a_thousand_files_are_listed_without_a_thousand_rows(cast: Cast, site: UploadSite, open_page: Opened) -> None:
    shown = open_page(cast.mona)
    shown.page.route("**/api/v1/uploads/", lambda route: route.abort())  # nothing begins
    shown.page.evaluate(ADD_MANY)
    shown.page.get_by_text("900 more files are not shown.").wait_for()
    assert shown.page.locator(".upload-row").count() == 100
    expect(shown.page.locator("[data-panel=sum]")).to_contain_text("0 of 1,000 files uploaded")
    assert axe_violations(shown.page) == []
    shown.page.on("dialog", lambda dialog: dialog.accept())
    shown.page.get_by_role("button", name="Cancel all").click()
    shown.page.locator("[data-panel=totals]").wait_for(state="hidden")


REMEMBER_FILE = """async () => {
    const folder = await navigator.storage.getDirectory();
    const handle = await folder.getFileHandle("remembered.mp4", {create: true});
    const stream = await handle.createWritable();
    await stream.write(new Uint8Array(%d).fill(7));
    await stream.close();
    const file = await handle.getFile();
    document.querySelector("file-uploads").take({files: [{file, handle}], skipped: 0, tooMany: false});
}"""


def test_one_click_continues_a_file_whose_handle_is_remembered(cast: Cast, site: UploadSite, open_page: Opened) -> None:
    site.hold_after(1)
    shown = open_page(cast.mona)
    shown.page.on("dialog", lambda dialog: dialog.accept())
    shown.page.evaluate(REMEMBER_FILE % (3 * PART))
    wait_for_parts(site, 1)
    shown.page.reload()
    shown.wait_for("remembered.mp4", "unfinished")
    site.release()
    shown.press("remembered.mp4", "continue")
    shown.wait_for("remembered.mp4", "processing")
    assert 3 * PART <= site.bytes_sent() <= 3 * PART + LANES * PART


@pytest.mark.thorough
def test_without_web_crypto_the_page_says_so_and_sends_without_sums(
    cast: Cast, site: UploadSite, open_page: Opened, tmp_path: Path
) -> None:
    shown = open_page(cast.mona)
    shown.page.add_init_script("Object.defineProperty(crypto, 'subtle', {value: undefined})")
    shown.page.reload()
    expect(shown.page.locator("[data-panel=insecure]")).to_be_visible()
    shown.choose(write_file(tmp_path / "plain.mp4", MIB))
    shown.wait_for("plain.mp4", "processing")
    assert only_upload().first_part_sha256 == ""


def test_a_viewer_sees_the_list_and_no_way_to_upload(cast: Cast, site: UploadSite) -> None:
    window = session(site, cast.alice)
    page = window.go("/uploads/")
    page.get_by_text("Managers of your airline upload content here.").wait_for()
    assert page.locator("file-uploads").count() == 0
    assert axe_violations(page) == []
    window.context.close()


def test_without_javascript_the_page_explains_how_to_upload(cast: Cast, site: UploadSite) -> None:
    window = session(site, cast.mona, java_script_enabled=False)
    page = window.go("/uploads/", live=False)
    expect(page.locator("noscript .note")).to_contain_text("Sending files from this page needs JavaScript.")
    assert page.locator("noscript .note").is_visible()
    assert not page.get_by_role("button", name="Choose files").is_visible()
    window.context.close()


@pytest.mark.parametrize(("scheme", "width"), [pytest.param("light", 1440, marks=pytest.mark.thorough), ("dark", 390)])
def test_the_page_is_accessible_while_it_sends_and_after_a_failure(
    cast: Cast, site: UploadSite, open_page: Opened, film: Path, tmp_path: Path, scheme: str, width: int
) -> None:
    site.hold_after(1)
    shown = open_page(cast.mona, color_scheme=scheme, viewport={"width": width, "height": 900})
    empty = tmp_path / "empty.mp4"
    empty.touch()
    shown.choose(film, empty)
    shown.wait_for("film.mp4", "sending")
    shown.wait_for("empty.mp4", "failed")
    assert axe_violations(shown.page) == []
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


MEMORY_OF_WORKER = """async () => {
    await navigator.serviceWorker.ready;
    const stored = [];
    for (const name of await caches.keys()) {
        for (const request of await (await caches.open(name)).keys()) stored.push(new URL(request.url).pathname);
    }
    return stored;
}"""


def test_the_service_worker_stores_nothing_private_and_shows_a_page_without_a_network(
    cast: Cast, site: UploadSite, open_page: Opened
) -> None:
    shown = open_page(cast.mona)
    shown.page.reload()
    stored = shown.page.evaluate(MEMORY_OF_WORKER)
    assert "/offline/" in stored
    assert [path for path in stored if not path.startswith("/static/")] == ["/offline/"]
    shown.session.context.set_offline(True)
    shown.page.goto("/attention/")
    shown.page.get_by_role("heading", name="No connection").wait_for()
    assert axe_violations(shown.page) == []


def test_a_draft_takes_files_and_keeps_sending_while_its_page_changes(
    cast: Cast, site: UploadSite, tmp_path: Path
) -> None:
    draft = Draft.objects.create(airline=cast.acme, name="2026-12", title="December")
    site.hold_after(1)
    window = session(site, cast.mona)
    shown = UploadPage(window, f"/admin/campaigns/draft/{draft.pk}/change/", live=False)
    shown.choose(write_file(tmp_path / "film.mp4", 3 * PART))
    shown.wait_for("film.mp4", "sending")
    Draft.objects.update(title="January")
    requests.revalidate(Draft.objects.get(), edited=True)
    shown.page.locator('#id_title[value="January"]').wait_for()
    assert shown.state_of("film.mp4") == "sending"
    site.release()
    site.reset_connections()
    shown.wait_for("film.mp4", "processing")
    assert only_upload().campaign == "2026-12"
    assert axe_violations(shown.page) == []
    window.context.close()


PURE = """async () => {
    const { PartQueue, RateMeter, nextUpload, plannedPartSize } = await import("/static/js/uploads/parts.js");
    const { delay, retryAfter } = await import("/static/js/uploads/retries.js");
    const { difference } = await import("/static/js/uploads/hashing.js");
    const { shownFirst, totals } = await import("/static/js/uploads/file-upload.js");
    const queue = new PartQueue(25, 10);
    queue.markStored([{number: 2, size: 10}, {number: 3, size: 4}, {number: 9, size: 1}]);
    const taken = [queue.take(), queue.take(), queue.take()];
    queue.progress(1, 99);
    const flying = queue.sent;
    queue.done(1);
    queue.giveBack(3);
    const again = queue.take();
    queue.done(3);
    queue.done(3);
    const complete = queue.isComplete;
    queue.markMissing([3, 3, 7]);
    const meter = new RateMeter();
    meter.add(0, 0);
    meter.add(5000, 2000);
    const file = {name: "a", size: 5, lastModified: 7};
    const sending = {state: "sending", parts: {hasWork: false}};
    const waiting = {state: "queued"};
    return {
        taken, flying, again, complete, missing: queue.take(), sent: queue.sent, rate: meter.rate,
        ranges: [queue.range(1), queue.range(3)],
        delays: [delay(0, 0, 0), delay(0, 0, 1), delay(50, 0, 1), delay(0, 7000, 0), delay(0, 9e9, 0)],
        after: ["3", null, "x", "Tue, 01 Dec 2026 00:00:05 GMT"].map((text) => retryAfter(text, Date.UTC(2026, 11, 1))),
        same: difference({name: "a", size: 5, modified: 7}, file),
        differs: [{name: "b"}, {size: 6}, {modified: 8}]
            .map((other) => difference({name: "a", size: 5, modified: 7, ...other}, file) !== ""),
        next: [nextUpload([sending, waiting]) === waiting, nextUpload([sending])],
        first: shownFirst(["uploaded", "queued", "failed", "sending"].map((state) => ({state})), 2)
            .map((one) => one.state),
        counted: totals(["uploaded", "cancelled", "failed"].map((state) => ({state, size: 5, sent: 5}))),
        sizes: %s.map(plannedPartSize),
    };
}"""


def test_parts_delays_and_the_choice_of_the_next_file(cast: Cast, site: UploadSite) -> None:
    sizes = [1, PART, 9_000 * PART, 9_000 * PART + 1, 5 * 2**40]
    window = session(site, None)
    window.page.goto("/login/")
    found = window.page.evaluate(PURE % sizes)
    window.context.close()
    assert found["taken"] == [1, 3, None]
    assert (found["flying"], found["again"], found["complete"]) == (20, 3, True)
    assert (found["missing"], found["sent"], found["rate"]) == (3, 20, 2500)
    assert found["ranges"] == [[0, 10], [20, 25]]
    assert found["delays"] == [250, 500, 30_000, 7_000, 600_000]
    assert found["after"] == [3_000, 0, 0, 5_000]
    assert (found["same"], found["differs"]) == ("", [True, True, True])
    assert found["next"] == [True, None]
    assert found["first"] == ["sending", "failed"]
    assert (found["counted"]["files"], found["counted"]["failed"], found["counted"]["bytes"]) == (2, 1, 5)
    assert found["sizes"] == [plan_parts(size).part_size for size in sizes]
