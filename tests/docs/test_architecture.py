"""docs/architecture.md matches the tree: its packages, the names it mentions, and the layers of import-linter."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ["fleet", "campaigns", "ifeportal", "loader"]
DJANGO_FOLDERS = {"migrations", "management", "templatetags", "static", "__pycache__"}
DJANGO_MODULES = {"__init__", "apps", "admin", "models", "urls", "settings", "asgi", "checks"}
MODULES_PER_FOLDER = 14
# Folders that hold more, how many, and why they are not cut.
EXCEPTIONS: dict[str, int] = {}


def document() -> str:
    return (ROOT / "docs/architecture.md").read_text()


def walks() -> str:
    return document().split("\n## Three walks through the code\n")[1].split("\n## ")[0]


def folders(app: str) -> Iterator[Path]:
    """Return the folders of an app with code, including the app's own."""
    for path in sorted((ROOT / app).rglob("*.py")):
        if path.name == "__init__.py" and not DJANGO_FOLDERS & set(path.relative_to(ROOT).parts):
            yield path.parent


def dotted(folder: Path) -> str:
    return ".".join(folder.relative_to(ROOT).parts)


@cache
def names_in(module: Path, of: tuple[str, ...] = ()) -> frozenset[str]:
    """Return the names that a module or a class in it defines or imports, without executing it."""
    body = ast.parse(module.read_text()).body
    for name in of:
        classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
        body = classes[name].body if name in classes else []
    found: set[str] = set()
    for node in body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.Assign(targets=targets):
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                found |= {alias.asname or alias.name for alias in aliases}
    return frozenset(found)


def exists(name: str) -> bool:
    """Return whether a package, a module, or a name in one of them exists."""
    path, rest = ROOT, name.split(".")
    while rest and (path / rest[0]).is_dir():
        path, rest = path / rest[0], rest[1:]
    if rest and (path / f"{rest[0]}.py").exists():
        path, rest = path / f"{rest[0]}.py", rest[1:]
    else:
        path = path / "__init__.py"
    return not rest or (path.exists() and rest[-1] in names_in(path, tuple(rest[:-1])))


def contracts() -> dict[str, dict[str, Any]]:
    """Return the layer contracts of import-linter, by package ("" for the one of all four)."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {"".join(each.get("containers", [])): each for each in settings if each["type"] == "layers"}


def test_every_package_has_one_line_and_no_line_names_a_removed_package() -> None:
    listed = re.findall(r"^\| `([a-z_0-9.]+\.[a-z_0-9.]+)` \| [^|]+ \|$", document(), re.M)
    packages = [dotted(folder) for app in LAYERS for folder in folders(app) if folder.parent != ROOT]
    assert sorted(listed) == sorted(packages)


def test_the_layers_of_the_document_are_those_of_the_linter() -> None:
    layers = re.findall(r"^\| (\d) \| `(\w+)` \| [^|]+ \|$", document(), re.M)
    assert [name for _, name in sorted(layers, reverse=True)] == LAYERS == contracts()[""]["layers"]


@pytest.mark.parametrize("app", LAYERS)
def test_every_package_and_module_of_an_app_is_in_a_layer(app: str) -> None:
    contract = contracts()[app]
    named = {name for layer in contract["layers"] for name in re.split(r" [|:] ", layer)}
    ignored = set(contract.get("exhaustive_ignores", []))
    present = {path.stem for path in (ROOT / app).glob("*.py")}
    present |= {path.name for path in (ROOT / app).iterdir() if (path / "__init__.py").exists()}
    assert contract["exhaustive"] is True
    assert named | ignored == present - {"__init__"}


def test_the_walks_name_only_what_is_there() -> None:
    named = set(re.findall(rf"`((?:{'|'.join(LAYERS)})\.[\w.]+)`", walks()))
    assert len(named) > 50
    assert [name for name in sorted(named) if not exists(name)] == []


def test_a_removed_name_is_detected() -> None:
    assert exists("loader.transfer.download.Download.run")
    assert exists("campaigns.models.Campaign")
    assert not exists("loader.transfer.download.Download.walk")
    assert not exists("loader.lookout.Lookout")


def test_no_folder_exceeds_the_module_limit() -> None:
    sizes = {
        str(folder.relative_to(ROOT)): sum(path.stem not in DJANGO_MODULES for path in folder.glob("*.py"))
        for app in LAYERS
        for folder in folders(app)
    }
    assert {name: size for name, size in sizes.items() if size > EXCEPTIONS.get(name, MODULES_PER_FOLDER)} == {}
    assert set(EXCEPTIONS) <= sizes.keys()
