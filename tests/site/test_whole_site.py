"""What the site has once: its styles, its lists of pages, its error page."""

import re
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]


def sources() -> set[str]:
    docs = ROOT / "docs"
    found = (*docs.rglob("*.md"), *docs.glob("notebooks/*.py"))
    return {path.relative_to(docs).as_posix() for path in found}


@pytest.fixture(scope="module")
def home() -> str:
    return str(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["site_url"])


def test_styles_ask_no_other_host(site: Path) -> None:
    styles = list(site.rglob("*.css"))
    assert styles
    for style in styles:
        text = re.sub(r"/\*.*?\*/", "", style.read_text(encoding="utf-8"), flags=re.S)
        found = re.findall(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""", text)
        asked = ["".join(match) for match in found]
        assert [url for url in asked if not url.startswith("data:") and "//" in url] == []


def test_pictures_ask_no_other_host(site: Path) -> None:
    pictures = list(site.rglob("*.svg"))
    assert pictures
    for picture in pictures:
        text = picture.read_text(encoding="utf-8")
        names = r"http://www\.w3\.org/(2000/svg|1999/xlink|1999/02/22-rdf-syntax-ns#)"
        assert "//" not in re.sub(names, "", text), picture.name


def test_the_map_lists_every_page(site: Path, home: str) -> None:
    root = ElementTree.parse(site / "sitemap.xml").getroot()
    urls = {str(element.text) for element in root.iter() if element.tag.endswith("loc")}
    pages = {path.removesuffix(".md").removesuffix(".py") for path in sources()}
    assert urls == {home + (f"{page}/" if page != "index" else "") for page in pages}


def test_llms_txt_lists_every_page(site: Path, home: str) -> None:
    text = (site / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# Attention, executed\n\n> ")
    lines = re.findall(r"^- \[(.+)\]\((.+)\): (.+)$", text, re.M)
    assert len(lines) == len(sources()) == len(re.findall("^- ", text, re.M))
    for title, url, description in lines:
        assert title.strip()
        assert description.endswith(".")
        path = site / url.removeprefix(home)
        assert (path / "index.html" if url.endswith("/") else path).is_file(), url


def test_the_markdown_beside_llms_txt_is_the_source(site: Path) -> None:
    text = (site / "learn/softmax.md").read_text(encoding="utf-8")
    assert text == (ROOT / "docs/learn/softmax.md").read_text(encoding="utf-8")


def test_every_page_is_found_by_the_search(site: Path) -> None:
    index = yaml.safe_load((site / "search/search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].split("#")[0] for entry in index["docs"]}
    pages = {path.removesuffix(".md").removesuffix(".py") for path in sources()}
    assert {f"{page}/" if page != "index" else "" for page in pages} <= found


def test_descriptions_are_different(site: Path) -> None:
    description = re.compile(r'<meta name="description" content="([^"]+)"')
    pages = [path.read_text(encoding="utf-8") for path in site.rglob("index.html")]
    texts = [text for page in pages for text in description.findall(page)]
    assert len(texts) == len(set(texts)) == len(sources())


def test_the_error_page_has_a_way_back(site: Path) -> None:
    page = BeautifulSoup((site / "404.html").read_text(encoding="utf-8"), "html.parser")
    assert page.select_one("a.md-logo[href]") is not None
    # It is served at any depth, so it names its files from the root of the host.
    styles = [str(link["href"]) for link in page.select("link[rel=stylesheet]")]
    assert styles
    assert all(url.startswith("/") for url in styles)


def test_the_shared_picture_has_the_size_that_pages_say(site: Path) -> None:
    header = (site / "assets/social.png").read_bytes()[:24]
    assert struct.unpack(">II", header[16:24]) == (1200, 630)
    assert (site / "assets/social.png").stat().st_size < 300_000
