"""The style sheets of every page are one file in production, and each its own in development."""

from __future__ import annotations

from pathlib import Path

from django.conf import LazySettings
from django.contrib.staticfiles import finders
from django.core.files.storage import FileSystemStorage
from django.template import Context, Template

from ifeportal.web.staticfiles import BUNDLE, SHARED_STYLES, HashedStaticFiles

LINKS = Template("{% load styles %}{% shared_styles %}")
SOURCE = {name: str(finders.find(name)) for name in SHARED_STYLES}


def test_collectstatic_joins_the_shared_style_sheets(tmp_path: Path, settings: LazySettings) -> None:
    for name, source in SOURCE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(Path(source).read_text())
    files = HashedStaticFiles(location=str(tmp_path), base_url="/static/")
    done = list(files.post_process({name: (FileSystemStorage(tmp_path), name) for name in SHARED_STYLES}))
    assert not [each for each in done if isinstance(each[2], Exception)]
    bundle = (tmp_path / files.stored_name(BUNDLE)).read_text()
    assert all(Path(source).read_text().strip() in bundle for source in SOURCE.values())
    assert (tmp_path / f"{files.stored_name(BUNDLE)}.gz").exists()
    settings.STATIC_ROOT = str(tmp_path)
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "ifeportal.web.staticfiles.HashedStaticFiles"},
    }
    assert LINKS.render(Context()) == f'<link rel="stylesheet" href="/static/{files.stored_name(BUNDLE)}">'


def test_in_development_each_style_sheet_is_linked() -> None:
    html = LINKS.render(Context())
    assert [name in html for name in SHARED_STYLES] == [True] * len(SHARED_STYLES)
    assert None not in SOURCE.values()
