"""Look over a built site: links within it, texts of pictures, and what its pages would fetch from elsewhere."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

MAX_BYTES = 2_000_000  # that a page may need before anybody scrolls
FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "audio": "src"}


class _Page(HTMLParser):
    """What a page links to, fetches and shows, and the places in it that can be linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.at_once: set[str] = set()
        self.mute: list[str] = []
        self.places: set[str] = {"", "top"}

    def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
        attributes = dict(given)
        self.places |= {attributes[name] or "" for name in ("id", "name") if name in attributes}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"] or "")
        if FETCHED.get(tag) in attributes and "canonical" not in (attributes.get("rel") or ""):
            self.fetched.append(attributes[FETCHED[tag]] or "")
            if attributes.get("loading") != "lazy":
                self.at_once.add(self.fetched[-1])
        if tag == "img" and not (attributes.get("alt") or "").strip() and "aria-hidden" not in attributes:
            self.mute.append(attributes.get("src") or "")


@cache
def _parsed(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def faults(folder: Path) -> list[str]:
    """What is wrong with a site, a line for each fault.

    A link within it that leads nowhere, something that is fetched from another host, a picture without a text, a page
    that needs more than 2 MB before anybody scrolls.
    """
    _parsed.cache_clear()
    found = []
    for path in sorted(folder.rglob("*.html")):
        page, here = _parsed(path), path.relative_to(folder)
        found += [f"{here}: leads nowhere: {link}" for link in [*page.links, *page.fetched] if not _leads(link, path)]
        found += [f"{here}: fetched from elsewhere: {link}" for link in page.fetched if urlsplit(link).netloc]
        found += [f"{here}: a picture without a text: {source}" for source in page.mute]
        files = {path, *(path.parent / unquote(urlsplit(link).path) for link in page.at_once)}
        if (size := sum(file.stat().st_size for file in files if file.is_file())) > MAX_BYTES:
            found.append(f"{here}: needs {size / 1e6:.1f} MB at once")
    return found


def _leads(link: str, page: Path) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True  # to elsewhere, which is not looked at
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return False
    return target.suffix != ".html" or unquote(parts.fragment) in _parsed(target).places
