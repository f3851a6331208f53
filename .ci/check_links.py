"""Check that each link and anchor inside the built site leads somewhere.

MkDocs checks the links of Markdown; this also sees those of generated pages,
docstrings and the theme. Addresses of other servers are not asked for.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Links(HTMLParser):
    """The links and anchors of one page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {'', '__skip'}
        self.feed(page.read_text())

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        """Note what the element links to and how it is linked to."""
        for name, value in attrs:
            if name in ('href', 'src') and tag != 'base':
                self.links.append(value or '')
            elif name in ('id', 'name'):
                self.anchors.add(value or '')


def find_broken(site: Path) -> list[str]:
    """A line for each link that leads nowhere."""
    pages = {page: Links(page) for page in site.resolve().rglob('*.html')}
    broken = []
    for page, found in pages.items():
        # Shown for any address, so its links begin at the root of a server.
        if page.name == '404.html':
            continue
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = page
            if parts.path:
                target = (page.parent / unquote(parts.path)).resolve()
            if target.is_dir():
                target /= 'index.html'
            known = pages[target].anchors if target in pages else {''}
            missing = not target.is_file()
            if missing or unquote(parts.fragment) not in known:
                broken.append(f'{page.relative_to(site.resolve())}: {link}')
    if not pages:
        broken.append(f'no page in {site}')
    return broken


if __name__ == '__main__':
    lines = find_broken(Path(sys.argv[1]))
    print('\n'.join(lines) or 'every link leads somewhere')
    sys.exit(bool(lines))
