"""`manage.py run_loader`: the loader of one aircraft: settings, lock, signals, exit code. Needs no database."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from loader.agent import VERSION, Agent
from loader.board import Board
from loader.bucket import S3Bucket
from loader.config import OPTIONS, Option, Settings, SettingsError, read_settings
from loader.crash import arm
from loader.display import Display, make_display
from loader.door import Door
from loader.errors import Exit, WorldError
from loader.link import Link, destination
from loader.listener import Fan
from loader.logs import Blotter, set_up
from loader.status import HELPERS
from loader.store import Store
from loader.streams import MOST
from loader.watchdog import Watchdog

log = logging.getLogger("loader")


class Command(BaseCommand):
    help = (
        "Load the campaigns of an airline onto this aircraft: DIR/CAMPAIGN/CONTENT.tgz. Every option can come from the "
        "environment as LOADER_… (lists are separated by colons). Sizes and times are written like 20MB and 2 days. "
        "The store is named by AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, "
        "MEDIA_BUCKET and STATUS_BUCKET. "
        "Exit: 0 all done, 1 some items failed, 2 wrong settings, 3 refused by policy, 4 another loader holds "
        "this tail or directory, 75 stopped or nothing could be reached: try again later."
    )
    requires_system_checks: list[str] = []
    suppressed_base_arguments = {"--verbosity", "--traceback", "--pythonpath", "--no-color", "--force-color"}

    def add_arguments(self, parser: CommandParser) -> None:
        for option in OPTIONS:
            if option.switch:
                parser.add_argument(option.flag, dest=option.name, action="store_true", default=None, help=option.help)
                continue
            default = f" (default {option.default})" if option.default else ""
            parser.add_argument(
                option.flag,
                dest=option.name,
                action="append" if option.many else "store",
                metavar=option.metavar,
                help=(option.help + default).replace("%", "%%"),
            )

    def handle(self, *args: object, **options: Any) -> None:
        settings = _settings({option.name: options.get(option.name) for option in OPTIONS}, OPTIONS)
        set_up(sys.stderr, Blotter.of(os.environ), as_json=settings.json)
        with _signals() as stop, contextlib.ExitStack() as stack:
            code = self._load(settings, stop, stack)
        sys.exit(code)

    def _load(self, settings: Settings, stop: threading.Event, stack: contextlib.ExitStack) -> Exit:
        stores = []
        for path in settings.content_dirs:
            try:
                store = Store(path)
                stack.callback(store.close)
                if not store.lock():
                    log.error("Another loader is at work in %s.", path)
                    return Exit.HELD
            except WorldError as error:
                raise CommandError(f"--content-dir: {error}", returncode=Exit.USAGE) from error
            stores.append(store)
        display = make_display(sys.stdout, as_json=settings.json, interval=settings.progress_interval)
        stack.callback(display.close)
        return _run(settings, stores, display, stop)


def _settings(given: dict[str, object], options: Sequence[Option]) -> Settings:
    try:
        arm(os.environ)
        return read_settings(given, os.environ)
    except (SettingsError, ValueError) as error:
        raise CommandError(str(error), returncode=Exit.USAGE) from error


def _run(settings: Settings, stores: Sequence[Store], display: Display, stop: threading.Event) -> Exit:
    media = _bucket(settings.media_bucket, settings, stop, settings.max_transfers + MOST + 4)
    status = _bucket(settings.status_bucket, settings, stop, HELPERS + 2)
    where = f"{settings.airline}/{settings.tail}"
    display.say("start", f"Loading for {where} into {', '.join(map(str, settings.content_dirs))}", loader=where)
    board = Board(settings.airline, settings.tail, VERSION, space=lambda: [store.space() for store in stores])
    link = Link(*destination(media.name, media.endpoint, media.region), settings.link_check)
    watchdog = Watchdog(os.environ)
    agent = Agent(
        settings,
        media,
        status,
        stores,
        Fan(display, board, watchdog),
        link,
        stop,
        rate=lambda: board.rate,
        turned=watchdog.turn,
    )
    door = Door(stores[0].path, board, agent.ask, settings.socket_mode)
    link.start()
    door.start()
    watchdog.ready()
    try:
        code = agent.run()
    finally:
        watchdog.stopping()
        door.close()
        link.close()
    display.say("end", f"End: {code.name.lower().replace('_', ' ')}", exit=int(code))
    return code


def _bucket(name: str, settings: Settings, stop: threading.Event, connections: int) -> S3Bucket:
    return S3Bucket(
        name,
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        connections=connections,
        sleep=stop.wait,
    )


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """SIGTERM and SIGINT set the event; the second one ends the process as if it had no handler."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
