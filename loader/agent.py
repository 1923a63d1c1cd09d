"""The loader as a whole: look what there is, plan, have it carried out, look again; signals; how it ends.

One loop turns once a second. What takes time (transfers, reports, the link check, commands) has threads of its own, so
whatever the ground, the clock, the link or somebody aboard changes takes effect at the next turn, in the middle of an
item too. Each step can be called alone (`look`, `decide`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from loader.bucket import Bucket
from loader.config import Settings
from loader.contract import TGZ, Heartbeat, Held, Item, heartbeat_key
from loader.dispatch import Dispatch
from loader.display import size_text
from loader.errands import Errands
from loader.errors import Exit, WorldError
from loader.failures import OF_THE_OBJECT, Failures
from loader.hours import Window
from loader.lease import Lease
from loader.link import Link
from loader.listener import Listener
from loader.lookout import Look, Lookout
from loader.means import Means, link_is_up
from loader.pace import Backoff, Limiter
from loader.plan import Found, Moment, Plan, Removal, Room, Wanted, make_plan, together
from loader.status import StatusWriter
from loader.store import Edition, Store
from loader.transfer import Result, Tools
from loader.trust import Trust, encrypted
from loader.work import Key, Work

VERSION: Final = "0.1.0"
PASSES: Final = 3  # of `--once`, where campaigns change under it
TURN: Final = 1.0  # seconds
LEASE_WAIT: Final = 30.0  # seconds for the status bucket to say whose the tail is; then content is loaded anyhow
FLUSH_STOPPED: Final = 1.5  # seconds for the last reports after a signal
ENDING: Final = 2.0  # seconds for transfers to come to an end
FIRST_KEPT: Final = 20  # wishes from aboard


class Agent:
    """Loads one tail. `stores` are open and locked. `stop`, once set, ends it within five seconds.

    `rate`: bytes a second received lately, all transfers together. `turned` is called once a turn, so that a watchdog
    hears of a loop that hangs.
    """

    def __init__(
        self,
        settings: Settings,
        media: Bucket,
        status: Bucket,
        stores: Sequence[Store],
        listener: Listener,
        link: Link,
        stop: threading.Event,
        *,
        rate: Callable[[], int | None] = lambda: None,
        turned: Callable[[], None] = lambda: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings, self._media, self._stores, self._listener = settings, media, stores, listener
        self._link, self._stop, self._rate, self._turned, self._now = link, stop, rate, turned, now
        self._started = now()
        self._trust = Trust(
            settings.signatures,
            settings.airline,
            settings.tail,
            keys=settings.trusted_keys,
            stores=stores,
            tls=encrypted(media),
            now=now,
            say=lambda text: listener.say("trust", text),
        )
        self._lookout = Lookout(settings.airline, settings.campaigns, media, self._trust)
        self._dispatch = Dispatch(settings.airline, settings.tail, media, stores[0])
        self._failures = Failures()
        self._first: list[tuple[str, str | None]] = []
        self._said: dict[str, str] = {}
        self._look, self._plan = Look({}), Plan((), ())
        self._outcomes: dict[Key, Result] = {}
        self._passes = 0
        self._state = ("idle", "", "")
        self._limiter = Limiter(settings.bandwidth_limit)
        self._wake, self._poked, self._taken = threading.Event(), threading.Event(), threading.Event()
        lease = Lease(
            status,
            heartbeat_key(settings.airline, settings.tail),
            stores,
            patience=settings.takeover_after,
            say=lambda text: listener.say("lease", text),
        )
        self.status = StatusWriter(
            status,
            settings.airline,
            settings.tail,
            lease=lease,
            interval=settings.progress_interval,
            heartbeat=self.heartbeat,
            heartbeat_interval=settings.heartbeat_interval,
            complain=lambda text: listener.say("status_away", text),
            taken=self._give_way,
            link_up=lambda: link.state()[0],
        )
        self._errands = Errands(
            settings.on_loaded, settings.on_loaded_timeout, stores, self.status, listener, self._wake.set
        )
        self._work = Work(self._tools(), settings.max_transfers, self._wake.set)

    def run(self) -> Exit:
        """Until nothing is left to do (`once`) or `stop` is set."""
        self.status.believe(self._stores[0].take_record(), self._now())
        self.status.start()
        self._await_lease()
        code = Exit.UNREACHABLE
        try:
            self._work.start()
            code = self._turns()
        finally:
            told = self._end()
        if self._taken.is_set():
            return Exit.HELD
        return Exit.UNREACHABLE if code is Exit.DONE and not told else code

    def _await_lease(self) -> None:
        """Before a byte is fetched: whose is the tail? While the status bucket cannot tell, content has precedence."""
        deadline = time.monotonic() + LEASE_WAIT
        while not self.status.judged.wait(0.1) and not self._stop.is_set() and time.monotonic() < deadline:
            self._turned()

    def _give_way(self, text: str) -> None:
        """The tail is another machine's. Called by the status thread."""
        self._listener.say("held", text)
        self._taken.set()
        self._stop.set()

    def _turns(self) -> Exit:
        due = 0.0
        while not self._stop.is_set():
            self._turned()
            if self._poked.is_set() or time.monotonic() >= due:
                self._poked.clear()
                self._look_and_plan()
                due = time.monotonic() + min(self._settings.poll_interval, self._until_later())
            self._mind()
            if self._settings.once:
                code = self._verdict()
                if code is not None:
                    return code
            self._wake.wait(TURN)
            self._wake.clear()
        return Exit.UNREACHABLE

    def _until_later(self) -> float:
        """Seconds until something that was ordered for later may begin."""
        change = self._plan.next_change
        return max(0.0, (change - self._now()).total_seconds()) if change else self._settings.poll_interval

    # Look.

    def _look_and_plan(self) -> None:
        """One look at the media bucket and what follows from it; what is under way goes on if it is out of reach."""
        if not self._link.state()[0]:
            return
        self._obey()
        look = self.look()
        if self._stop.is_set():
            return
        self._look = look
        away = "" if look.reached else f"The media bucket is out of reach: {look.reason}"
        self._say_once("waiting", "reach", away, code=look.code)
        if away:
            return
        self._tell_problems(look)
        etags = self._object_etags(look)
        self._plan = self.decide(look, etags)
        if self._remove(self._plan, look):
            self._plan = self.decide(look, etags)
        self._tell_plan(look)
        self._work.update(self._plan, look.readings, etags)
        self._errands.look()

    def look(self) -> Look:
        """Which campaigns there are and what their manifests say."""
        look = self._lookout.look(self._stop)
        for text in look.odd:
            self._say_once("prefix", text, text)
        return look

    def _obey(self) -> None:
        """Read the queue; its settings hold at once."""
        if self._dispatch.read():
            self.status.beat()
        self._say_once("queue", "queue", self._dispatch.problem)
        orders, limits = self._dispatch.orders, [self._settings.bandwidth_limit]
        limits += [orders.bandwidth_limit] if orders else []
        self._limiter.rate = min((limit for limit in limits if limit), default=None)
        self._listener.queue(
            orders.version if orders else None,
            orders.paused if orders else False,
            " and ".join(str(window) for window in self._windows()),
            self._limiter.rate,
        )

    def _windows(self) -> list[Window]:
        """All of them must be open: the aircraft's own and the queue's."""
        orders = self._dispatch.orders
        both = [self._settings.window, orders.window if orders else None]
        return [window for window in both if window and window.spans]

    def _tell_problems(self, look: Look) -> None:
        if look.code:
            self._say_once("waiting", "look", f"{look.code}: {look.text}", code=look.code)
        for name, reading in look.readings.items():
            self._say_once("doubt", f"doubt {name}", f"{name}: {reading.doubt}" if reading.doubt else "")
            if not reading.code:
                self._said.pop(f"campaign {name}", None)
                if not self._errands.failed(name):
                    self.status.no_campaign_error(name)
            elif reading.out_of_reach:
                self._listener.say("waiting", f"{name}: {reading.text}", campaign=name, code=reading.code)
            elif self._said.get(f"campaign {name}") != reading.text:
                self._said[f"campaign {name}"] = reading.text
                self.status.campaign_error(name, reading.code, reading.text)
                self._listener.campaign_failed(name, reading.code, reading.text)

    def _say_once(self, event: str, key: str, text: str, **fields: object) -> None:
        """Nothing to say ("") lets it be said again when it comes back."""
        if self._said.get(key, "") != text:
            self._said[key] = text
            if text:
                self._listener.say(event, text, **fields)

    def _object_etags(self, look: Look) -> dict[Key, str]:
        """Where only the object itself can tell whether it is another one: no hash, or a failure to be forgotten."""
        found: dict[Key, str] = {}
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
                self._listener.say("listing", f"{name}: its objects could not be listed: {error}", campaign=name)
                continue
            found.update({(name, content): etag for content, etag in etags.items()})
        return found

    # Decide.

    def decide(self, look: Look, etags: Mapping[Key, str]) -> Plan:
        """What is to be done, before a byte moves."""
        named = set(self._settings.campaigns)
        wanted = [
            Wanted(name, reading.manifest, name in named, self._replacing(name, reading.edition))
            for name, reading in look.readings.items()
            if reading.manifest is not None
        ]

        found = {one.campaign: self._find(one.campaign, one.manifest.content, etags) for one in wanted}

        def find(campaign: str, item: Item) -> list[Found]:
            return [there[item.name] for there in found[campaign]]

        rooms = [Room((store.space().free or 0) - self._settings.reserve, store.device) for store in self._stores]
        return make_plan(
            wanted,
            find,
            rooms,
            self._moment(),
            orders=self._dispatch.orders,
            aboard=together([store.aboard() for store in self._stores]),
            first=tuple(self._first),
            barred=self._barred(look, etags),
        )

    def _find(self, campaign: str, items: Sequence[Item], etags: Mapping[Key, str]) -> list[dict[str, Found]]:
        known = {content: etag for (name, content), etag in etags.items() if name == campaign}
        return [store.find_all(campaign, items, known) for store in self._stores]

    def _moment(self) -> Moment:
        now = self._now()
        left = [seconds for window in self._windows() if (seconds := window.changes_in(now)) is not None]
        return Moment(now, min(left, default=None), self._rate())

    def _barred(self, look: Look, etags: Mapping[Key, str]) -> dict[Key, str]:
        digests = {name: reading.edition.digest for name, reading in look.readings.items()}
        barred = self._failures.barred(digests, etags, time.monotonic())
        if self._settings.once:
            # Whoever calls us once decides when it is tried again.
            failed = {key: one for key, one in self._outcomes.items() if one.code and one.step.action != "refuse"}
            barred |= {key: one.code for key, one in failed.items() if digests.get(key[0]) == one.digest}
        return barred

    def _edition(self, campaign: str) -> Edition | None:
        return next((edition for store in self._stores if (edition := store.edition(campaign))), None)

    def _replacing(self, campaign: str, edition: Edition) -> bool:
        held = self._edition(campaign)
        return held is not None and held.digest != edition.digest

    # Do.

    def _tell_plan(self, look: Look) -> None:
        for name in self._plan.ended:
            self._say_once("ended", f"ended {name}", f"{name}: its exhibition has ended, it is passed over")
        for name, why in self._plan.refused_removals:
            self._say_once("kept", f"kept {name}", f"{name} is not removed: {why}")
        refused = {name: (reading.code, reading.text) for name, reading in look.readings.items() if reading.code}
        titles = {name: reading.manifest.title for name, reading in look.readings.items() if reading.manifest}
        self._listener.wanted(self._plan.steps, refused, titles)
        todo = [step for step in self._plan.steps if step.action in ("fetch", "verify", "link")]
        sizes = (len(todo), sum(step.item.size for step in todo), sum(step.begun for step in todo))
        if self._said.get("plan") != str(sizes[:2]) and self._work.is_done:
            self._listener.plan(*sizes)
        self._said["plan"] = str(sizes[:2])

    def _remove(self, plan: Plan, look: Look) -> bool:
        """Carry out removals. True if something was removed."""
        if plan.removals:
            self._link_first(plan, look)
        removed = [self._removed(removal) for removal in plan.removals]
        return any(removed)

    def _link_first(self, plan: Plan, look: Look) -> None:
        """What is to be removed may be what is linked to."""
        for step in plan.steps:
            if step.action == "link":
                edition = look.readings[step.campaign].edition
                try:
                    self._stores[step.store].link(step.campaign, step.item, edition, beside=step.beside)
                except WorldError as error:
                    self._listener.say("link", f"{step.campaign}/{step.item.name}{TGZ}: {error}", code=error.code)

    def _removed(self, removal: Removal) -> bool:
        campaign, content = removal.campaign, removal.content
        what = campaign if content is None else f"{len(content)} items of {campaign}"
        try:
            if not self._work.drop(campaign, ENDING):
                return False  # at the next look
            names = {name for store in self._stores for name in store.contents(campaign)}
            freed = sum(store.purge(campaign, content) for store in self._stores)
        except WorldError as error:
            self._say_once("kept", f"kept {campaign}", f"{what} could not be removed: {error}")
            return False
        self._listener.say("removed", f"{what}: removed, {removal.reason}; {size_text(freed)} are free again")
        self.status.removed(campaign, names if content is None else names.intersection(content))
        return True

    def _tools(self) -> Tools:
        settings = self._settings
        means = Means(
            self._media,
            self._limiter,
            self._stop,
            lambda: Backoff(settings.tries, settings.retry_delay, settings.retry_delay_max),
            settings.min_rate,
            settings.min_rate_time,
            flush_after=settings.progress_interval,
            # Whoever lets us run once waits for us, not for the link.
            await_link=link_is_up if settings.once else self._link.wait_up,
        )
        return Tools(
            settings.airline,
            self._stores,
            means,
            self._lookout,
            self.status,
            self._listener,
            settings.reserve,
            self._errands.loaded,
            self._errands.failed,
        )

    # Mind what changes by itself.

    def _mind(self) -> None:
        """Hold the work or let it go on, take what has come of it, and say how things stand."""
        self._note_results()
        state, reason = self._why_not()
        self._work.hold(bool(state))
        running = self._work.running
        if state:
            self._enter(state, reason)
        elif not self._look.reached or self._look.code:
            self._enter("waiting", self._look.reason)
        elif running or not self._work.is_done:
            verifying = bool(running) and all(step.action == "verify" for step in running)
            self._enter("verifying" if verifying else "loading", "", running[0].campaign if running else self._state[2])
        else:
            failed = sum(bool(result.code) for result in self._outcomes.values())
            self._enter("idle", f"{failed} items failed" if failed else "")

    def _why_not(self) -> tuple[str, str]:
        """State and reason, where nothing may be loaded now."""
        up, why = self._link.state()
        self._listener.link(up, why)
        orders, now = self._dispatch.orders, self._now()
        if orders and orders.paused:
            return "paused", f"the ground has paused loading (queue version {orders.version})"
        for window in self._windows():
            if not window.is_open(now):
                return "waiting", f"outside the hours {window}"
        return ("", "") if up else ("waiting", why)

    def _note_results(self) -> None:
        wanted = {(step.campaign, step.item.name) for step in self._plan.steps}
        self._outcomes = {key: result for key, result in self._outcomes.items() if key in wanted}
        for result in self._work.take_results():
            key = (result.step.campaign, result.step.item.name)
            self._outcomes[key] = result
            if result.step.action not in ("leave", "refuse"):
                self._failures.note(key, result.code, result.digest, result.etag, time.monotonic())

    def ask(self, campaign: str, content: str | None) -> str | None:
        """Somebody aboard wants it first. Returns why that cannot be, None if it will be so. From any thread."""
        reading = self._look.readings.get(campaign)
        if reading is None or reading.manifest is None:
            return f"There is no campaign {campaign!r} to be loaded here"
        if content is not None and not any(item.name == content for item in reading.manifest.content):
            return f"The campaign {campaign!r} has no content {content!r}"
        self._first = [(campaign, content), *(one for one in self._first if one != (campaign, content))][:FIRST_KEPT]
        self._poked.set()
        self._wake.set()
        return None

    # How it ends.

    def _verdict(self) -> Exit | None:
        """With `once`: how it ends, None while there is something to be done."""
        look = self._look
        if not look.reached or (self._why_not()[0] and not self._work.running):
            return Exit.UNREACHABLE
        if not self._work.is_done or not self._errands.idle or self._poked.is_set():
            return None
        self._note_results()
        if self._changed_meanwhile():
            self._poked.set()
            return None
        codes = {reading.code for reading in look.readings.values()} | {one.code for one in self._outcomes.values()}
        self._sum_up()
        if look.refused:
            return Exit.REFUSED
        failed = look.code or codes - {""} or self._work.unsettled or self._errands.any_failed
        return Exit.SOME_FAILED if failed else Exit.DONE

    def _changed_meanwhile(self) -> bool:
        """A new version was published while the old one failed: worth another pass."""
        self._passes += 1
        campaigns = {key[0] for key, result in self._outcomes.items() if result.code in OF_THE_OBJECT}
        for name in campaigns if self._passes < PASSES else ():
            now = self._lookout.read(name)
            if now.manifest is not None and now.edition != self._look.readings[name].edition:
                return True
        return False

    def _sum_up(self) -> None:
        failed = sum(bool(result.code) for result in self._outcomes.values())
        if self._outcomes:
            done = len(self._outcomes) - failed
            text = f"{done} items loaded, {failed} failed"
            self._listener.say("pass", text, items=len(self._outcomes), done=done, failed=failed)

    def _end(self) -> bool:
        self._work.close(ENDING)
        self._errands.close(ENDING)
        self._enter("idle", "stopped" if self._stop.is_set() else "done")
        told = self.status.close(FLUSH_STOPPED if self._stop.is_set() else self._settings.report_timeout)
        if self._taken.is_set():
            return False
        if not told:
            self._listener.say("status_away", "Not everything could be told to the status bucket; run again later.")
        try:
            self._stores[0].keep_record(self.status.record(self._now()))
        except WorldError as error:
            self._listener.say("record", f"The next run will tell the ground everything again: {error}")
        return told

    # What it says of itself.

    def _enter(self, state: str, reason: str = "", campaign: str = "") -> None:
        if (state, reason, campaign) != self._state:
            self._state = (state, reason, campaign)
            self._listener.state(state, reason, campaign)
            self.status.beat()

    def heartbeat(self) -> Heartbeat:
        """The loader's own state, now. Called by the status thread."""
        state, reason, campaign = self._state
        orders = self._dispatch.orders
        problem = "; ".join([self._dispatch.problem, *(f"{name}: {why}" for name, why in self._plan.refused_removals)])
        extra = {"queue_error": problem.strip("; ")[:500], "signatures": self._look.doubts}
        return Heartbeat(
            loader=VERSION,
            at=self._now(),
            started_at=self._started,
            state=state,
            reason=reason[:500],
            campaign=campaign,
            rate_bps=(self._rate() or 0) if state == "loading" else 0,
            stores=tuple(store.space() for store in self._stores),
            queue_version=orders.version if orders else None,
            held=tuple(self._held()),
            extra={name: value for name, value in extra.items() if value},
        )

    def _held(self) -> list[Held]:
        held: dict[str, Held] = {}
        for store in self._stores:
            for campaign in store.held():
                held.setdefault(campaign.campaign, campaign)
        return list(held.values())
