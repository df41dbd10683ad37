"""Find links of the built pages that lead nowhere.

    python docs/check_links.py docs/_build

Every `href` and `src` within the site is followed, to the file and to the anchor in it, as a
browser would from file://; what a page would load from elsewhere is an error too, as it would be
missing without a network. Links for the reader to follow elsewhere are left alone.
"""

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
NOT_LOADED = {"canonical", "next", "prev", "search", "index", "author", "copyright"}  # <link rel=>


class Page(HTMLParser):
    """The anchors of a page, its links, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = {"", "top"}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.anchors |= {named[name] for name in ("id", "name") if name in named}
        place = LOADED.get(tag)
        if place in named and not (tag == "link" and named.get("rel") in NOT_LOADED):
            self.loaded.append(named[place])
        elif "href" in named:
            self.links.append(named["href"])


@cache
def read(path: Path) -> Page:
    return Page(path.read_text())


def broken(site: Path) -> list[str]:
    """One line for each link that leads nowhere and for each file from elsewhere."""
    faults = []
    for path in sorted(site.rglob("*.html")):
        page, name = read(path), path.relative_to(site)
        faults += [f"{name} loads {url}" for url in page.loaded if urlsplit(url).netloc]
        faults += [
            f"{name}: {url}"
            for url in dict.fromkeys(page.links + page.loaded)
            if not leads_somewhere(path, url)
        ]
    return faults


def leads_somewhere(page: Path, url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return True
    target = page.parent / unquote(parts.path) if parts.path else page
    if not target.is_file():  # file:// shows a list for a folder, not its index.html
        return False
    return target.suffix != ".html" or unquote(parts.fragment) in read(target.resolve()).anchors


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = broken(folder)
    pages = sum(1 for _ in folder.rglob("*.html"))
    print("\n".join([*found, f"{pages} pages, {len(found)} broken links"]))
    sys.exit(bool(found) or not pages)
