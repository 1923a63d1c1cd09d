"""The loader as a whole: look what there is, plan, carry out, wait, look again; signals; how it ends.

Each step can be called alone (`look`, `decide`, `carry_out`); `run` is the loop around them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from loader.bucket import Bucket
from loader.config import Settings
from loader.contract import Heartbeat, Held, Item, heartbeat_key
from loader.display import Display, size_text
from loader.download import Means
from loader.errors import Exit, WorldError
from loader.failures import OF_THE_OBJECT, Failures
from loader.lease import Lease
from loader.lookout import Look, Lookout
from loader.pace import Backoff, Limiter
from loader.plan import Found, Moment, Plan, Room, Wanted, make_plan
from loader.status import StatusWriter
from loader.store import Edition, Store
from loader.trust import Trust, encrypted
from loader.work import Result, Tools, Work

VERSION: Final = "0.1.0"
PASSES: Final = 3  # of `--once`, where campaigns change under it
LEASE_WAIT: Final = 30.0  # seconds for the status bucket to say whose the tail is; then content is loaded anyhow
FLUSH_STOPPED: Final = 1.5  # seconds for the last reports after a signal


class Agent:
    """Loads one tail. `stores` are open and locked. `stop`, once set, ends it within five seconds."""

    def __init__(
        self,
        settings: Settings,
        media: Bucket,
        status: Bucket,
        stores: Sequence[Store],
        display: Display,
        stop: threading.Event,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings, self._media, self._stores, self._display, self._stop = settings, media, stores, display, stop
        self._now = now
        self._started = now()
        self._trust = Trust(
            settings.signatures,
            settings.airline,
            settings.tail,
            keys=settings.trusted_keys,
            stores=stores,
            tls=encrypted(media),
            now=now,
            say=lambda text: display.say("trust", text),
        )
        self._lookout = Lookout(settings.airline, settings.campaigns, media, self._trust)
        self._failures = Failures()
        self._complained: dict[str, str] = {}
        self._doubts: dict[str, str] = {}
        self._state, self._reason, self._campaign = "idle", "", ""
        self._mark = (time.monotonic(), 0)
        self._limiter = Limiter(settings.bandwidth_limit)
        self._taken = threading.Event()
        lease = Lease(
            status,
            heartbeat_key(settings.airline, settings.tail),
            stores,
            patience=settings.takeover_after,
            say=lambda text: display.say("lease", text),
        )
        self.status = StatusWriter(
            status,
            settings.airline,
            settings.tail,
            lease=lease,
            interval=settings.progress_interval,
            heartbeat=self.heartbeat,
            heartbeat_interval=settings.heartbeat_interval,
            complain=lambda text: display.say("status_away", text),
            taken=self._give_way,
        )

    def run(self) -> Exit:
        """Until nothing is left to do (`once`) or `stop` is set."""
        self.status.believe(self._stores[0].take_record(), self._now())
        self.status.start()
        self._await_lease()
        code = Exit.UNREACHABLE
        try:
            if not self._stop.is_set():
                code = self._once() if self._settings.once else self._for_ever()
        finally:
            told = self._end()
        if self._taken.is_set():
            return Exit.HELD
        return Exit.UNREACHABLE if code is Exit.DONE and not told else code

    def _await_lease(self) -> None:
        """Before a byte is fetched: whose is the tail? While the status bucket cannot tell, content has precedence."""
        deadline = time.monotonic() + LEASE_WAIT
        while not self.status.judged.wait(0.1) and not self._stop.is_set() and time.monotonic() < deadline:
            pass

    def _give_way(self, text: str) -> None:
        """The tail is another machine's. Called by the status thread."""
        self._display.say("held", text)
        self._taken.set()
        self._stop.set()

    def _end(self) -> bool:
        self._enter("idle", "stopped" if self._stop.is_set() else "done")
        told = self.status.close(FLUSH_STOPPED if self._stop.is_set() else self._settings.report_timeout)
        if self._taken.is_set():
            return False
        if not told:
            self._display.say("status_away", "Not everything could be told to the status bucket; run again later.")
        try:
            self._stores[0].keep_record(self.status.record(self._now()))
        except WorldError as error:
            self._display.say("record", f"The next run will tell the ground everything again: {error}")
        return told

    def _once(self) -> Exit:
        for _ in range(PASSES):
            look, results = self.cycle()
            if self._stop.is_set():
                return Exit.UNREACHABLE
            if not self._changed_meanwhile(look, results):
                break
        return self._verdict(look, results)

    def _for_ever(self) -> Exit:
        while not self._stop.is_set():
            look, results = self.cycle()
            if self._stop.is_set():
                break
            if look.reached and not look.code:
                failed = sum(bool(result.code) for result in results)
                self._enter("idle", f"{failed} items failed" if failed else "")
            self._stop.wait(self._settings.poll_interval)
        return Exit.UNREACHABLE

    def cycle(self) -> tuple[Look, list[Result]]:
        """One look at the bucket and all the work that follows from it."""
        look = self.look()
        if not look.reached:
            self._enter("waiting", look.reason)
            self._display.say("waiting", f"The media bucket is out of reach: {look.reason}", code=look.code)
            return look, []
        self._doubts = look.doubts
        self._tell_problems(look)
        etags = self._object_etags(look)
        plan = self.decide(look, etags)
        return look, self.carry_out(plan, look, etags)

    # Look.

    def look(self) -> Look:
        """Which campaigns there are and what their manifests say."""
        look = self._lookout.look(self._stop)
        for text in look.odd:
            self._once_said("prefix", text, text)
        return look

    def _tell_problems(self, look: Look) -> None:
        if look.code:
            self._enter("waiting", f"{look.code}: {look.text}")
            self._display.say("waiting", f"{look.code}: {look.text}", code=look.code)
        for name, reading in look.readings.items():
            self._once_said("doubt", f"doubt {name}", f"{name}: {reading.doubt}" if reading.doubt else "")
            if not reading.code:
                self._complained.pop(name, None)
                self.status.no_campaign_error(name)
            elif reading.out_of_reach:
                self._display.say("waiting", f"{name}: {reading.text}", campaign=name, code=reading.code)
            elif self._complained.get(name) != reading.text:
                self._complained[name] = reading.text
                self.status.campaign_error(name, reading.code, reading.text)
                self._display.campaign_failed(name, reading.code, reading.text)

    def _once_said(self, event: str, key: str, text: str) -> None:
        if self._complained.get(key, "") != text:
            self._complained[key] = text
            if text:
                self._display.say(event, text)

    def _object_etags(self, look: Look) -> dict[tuple[str, str], str]:
        """Where only the object itself can tell whether it is another one: no hash, or a failure to be forgotten."""
        found: dict[tuple[str, str], str] = {}
        for name, reading in look.readings.items():
            manifest = reading.manifest
            if manifest is None or self._stop.is_set():
                continue
            unhashed = any(item.sha256 is None for item in manifest.content)
            if name not in self._failures.campaigns and not (unhashed and self._edition(name) != reading.edition):
                continue
            try:
                etags = self._lookout.object_etags(name, manifest)
            except WorldError as error:
                self._display.say("listing", f"{name}: its objects could not be listed: {error}", campaign=name)
                continue
            found.update({(name, content): etag for content, etag in etags.items()})
        return found

    # Decide.

    def decide(self, look: Look, etags: Mapping[tuple[str, str], str]) -> Plan:
        """What is to be done, before a byte moves."""
        named = set(self._settings.campaigns)
        wanted = [
            Wanted(name, reading.manifest, name in named, self._replacing(name, reading.edition))
            for name, reading in look.readings.items()
            if reading.manifest is not None
        ]

        def find(campaign: str, item: Item) -> list[Found]:
            return [store.find(campaign, item, etags.get((campaign, item.name), "")) for store in self._stores]

        rooms = [Room((store.space().free or 0) - self._settings.reserve, store.device) for store in self._stores]
        digests = {name: reading.edition.digest for name, reading in look.readings.items()}
        barred = self._failures.barred(digests, etags, time.monotonic())
        return make_plan(wanted, find, rooms, Moment(self._now()), barred=barred)

    def _edition(self, campaign: str) -> Edition | None:
        return next((edition for store in self._stores if (edition := store.edition(campaign))), None)

    def _replacing(self, campaign: str, edition: Edition) -> bool:
        held = self._edition(campaign)
        return held is not None and held.digest != edition.digest

    # Do.

    def carry_out(self, plan: Plan, look: Look, etags: Mapping[tuple[str, str], str]) -> list[Result]:
        """Do what was planned and remember what failed."""
        for name in plan.ended:
            self._once_said("ended", f"ended {name}", f"{name}: its exhibition has ended, it is passed over")
        todo = [step for step in plan.steps if step.action in ("fetch", "verify")]
        if todo:
            self._enter(
                "verifying" if all(step.action == "verify" for step in todo) else "loading", "", todo[0].campaign
            )
        self._display.plan(len(todo), sum(step.item.size for step in todo), sum(step.begun for step in todo))
        tools = Tools(
            self._settings.airline,
            self._stores,
            self._means(),
            self._lookout,
            self.status,
            self._display,
            self._settings.reserve,
            etags,
        )
        work = Work(plan, look.readings, tools, self._settings.max_transfers)
        results = work.carry_out()
        self._remember(results, look)
        self._sum_up(results, bool(todo))
        return results

    def _means(self) -> Means:
        settings, limit = self._settings, self._limiter.rate
        # A limit of our own making must not look like a slow link.
        share = settings.min_rate if limit is None else min(settings.min_rate, limit // (4 * settings.max_transfers))
        return Means(
            self._media,
            self._limiter,
            self._stop,
            lambda: Backoff(settings.tries, settings.retry_delay, settings.retry_delay_max),
            share,
            settings.min_rate_time,
        )

    def _remember(self, results: Sequence[Result], look: Look) -> None:
        for result in results:
            if result.step.action != "leave" and not result.stopped:
                campaign = result.step.campaign
                digest = look.readings[campaign].edition.digest
                key = (campaign, result.step.item.name)
                self._failures.note(key, result.code, digest, result.etag, time.monotonic())

    def _sum_up(self, results: Sequence[Result], worked: bool) -> None:
        failed = [result for result in results if result.code]
        if worked or failed:
            done = len(results) - len(failed) - sum(result.stopped for result in results)
            size = size_text(self._display.received)
            text = f"{done} items whole, {len(failed)} failed, {size} received"
            self._display.say("pass", text, items=len(results), done=done, failed=len(failed))

    # How it ends.

    def _changed_meanwhile(self, look: Look, results: Sequence[Result]) -> bool:
        """A new version was published while the old one failed: worth another pass."""
        campaigns = {result.step.campaign for result in results if result.code in OF_THE_OBJECT}
        for name in campaigns:
            now = self._lookout.read(name)
            if now.manifest is not None and now.edition != look.readings[name].edition:
                return True
        return False

    def _verdict(self, look: Look, results: Sequence[Result]) -> Exit:
        if not look.reached:
            return Exit.UNREACHABLE
        if look.refused:
            return Exit.REFUSED
        wrong = [name for name, reading in look.readings.items() if reading.code]
        if look.code or wrong or self._unsettled(look, results) or any(result.code for result in results):
            return Exit.SOME_FAILED
        return Exit.DONE

    def _unsettled(self, look: Look, results: Sequence[Result]) -> bool:
        """Every item came, but the campaign could not be marked as whole."""
        return any(self._edition(name) != look.readings[name].edition for name in {r.step.campaign for r in results})

    # What it says of itself.

    def _enter(self, state: str, reason: str = "", campaign: str = "") -> None:
        if (state, reason, campaign) != (self._state, self._reason, self._campaign):
            self._state, self._reason, self._campaign = state, reason, campaign
            self.status.beat()

    def heartbeat(self) -> Heartbeat:
        """The loader's own state, now. Called by the status thread."""
        now, received = time.monotonic(), self._display.received
        then, before = self._mark
        self._mark = (now, received)
        rate = round((received - before) / (now - then)) if now > then else 0
        return Heartbeat(
            loader=VERSION,
            at=self._now(),
            started_at=self._started,
            state=self._state,
            reason=self._reason[:500],
            campaign=self._campaign,
            rate_bps=rate if self._state == "loading" else 0,
            stores=tuple(store.space() for store in self._stores),
            held=tuple(self._held()),
            extra={"signatures": self._doubts} if self._doubts else {},
        )

    def _held(self) -> list[Held]:
        held: dict[str, Held] = {}
        for store in self._stores:
            for campaign in store.held():
                held.setdefault(campaign.campaign, campaign)
        return list(held.values())
