"""The documents as a site: built, and its links followed by another reader than the builder's."""

from __future__ import annotations

import re
import runpy
import shutil
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent
site_script = SimpleNamespace(**runpy.run_path(str(CHECKOUT / "scripts" / "build_site.py")))


class Document(HTMLParser):
    """What a page is, leads to, and loads by itself."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.add(str(given["id"]))
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag == "link" and given.get("rel") != "canonical":
            self.loads.append(str(given.get("href")))
        if given.get("src"):
            self.loads.append(str(given["src"]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    site_script.build(folder)
    return folder


def read(site: Path) -> dict[Path, Document]:
    return {path: Document(path) for path in sorted(site.rglob("*.html"))}


def test_every_link_of_the_site_leads_to_a_page_and_a_heading_that_are_there(site: Path) -> None:
    documents = read(site)
    followed = 0
    for path, document in documents.items():
        if path.name == "404.html":  # its links are from the site's top, wherever it is shown
            continue
        for link in [*document.links, *document.loads]:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            assert target.is_file(), f"{path.name} links to {link}"
            if parts.fragment and target in documents:
                assert unquote(parts.fragment) in documents[target].ids, (
                    f"{path.name} links to {link}"
                )
                followed += 1
    assert followed > 100


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    documents = read(site)
    assert len(documents) >= 20
    assert {
        link for document in documents.values() for link in document.loads if urlsplit(link).netloc
    } == set()


def test_every_page_of_the_documents_is_in_the_navigation() -> None:
    def pages(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        values = entry.values() if isinstance(entry, dict) else entry
        return [page for value in values for page in pages(value)]  # type: ignore[attr-defined]

    config = tomllib.loads((CHECKOUT / "zensical.toml").read_text(encoding="utf-8"))
    docs = CHECKOUT / "docs"
    there = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    assert set(pages(config["project"]["nav"])) == there


@pytest.mark.parametrize("target", ["nowhere.md", "costs.md#nothing-of-this-name"])
def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path, target: str) -> None:
    docs = shutil.copytree(CHECKOUT / "docs", tmp_path / "docs")
    with (docs / "index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n[a link]({target})\n")
    with pytest.raises(site_script.SiteError) as caught:
        site_script.build(tmp_path / "site", docs=docs)
    told = re.sub(r"\x1b\[[0-9;]*m", "", str(caught.value))
    assert target in told
    assert not (tmp_path / "site").exists()
