"""Every page of the built site, as HTML: complete, accessible, and asking no other host."""

import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in (*DOCS.rglob("*.md"), *DOCS.glob("notebooks/*.py"))
)
# What makes a browser ask for a file: an element, and the attribute that names the file.
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "track": "src",
    "embed": "src",
    "input": "src",
    "object": "data",
    "use": "href",
    "image": "href",
}
LINKS_THAT_LOAD = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect"}
LINKS_THAT_LOAD |= {"dns-prefetch", "manifest", "apple-touch-icon"}
OUTSIDE = re.compile(r"""(?:https?:)?//[\w.-]+\.\w+""")
CSS_LOADS = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")

pytestmark = pytest.mark.parametrize("source", SOURCES)


def html_of(source: str) -> str:
    page = re.sub(r"\.(md|py)$", "", source)
    return "index.html" if page == "index" else f"{page.removesuffix('/index')}/index.html"


@cache
def read(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture
def page(site: Path, source: str) -> BeautifulSoup:
    path = site / html_of(source)
    assert path.exists(), f"docs/{source} has no page"
    return read(path)


@pytest.fixture
def article(page: BeautifulSoup) -> Tag:
    found = page.select_one("article")
    assert found is not None
    return found


def text_outside_code(article: Tag) -> str:
    copy = BeautifulSoup(str(article), "html.parser")
    for element in copy.select("pre, code, math, script, style"):
        element.decompose()
    return copy.get_text("\n")


def test_has_a_title_and_a_description(page: BeautifulSoup, site: Path) -> None:
    assert page.title is not None
    assert page.title.get_text().strip()
    description = page.select_one('meta[name="description"]')
    assert description is not None
    text = str(description["content"])
    home = read(site / "404.html").select_one('meta[name="description"]')
    assert home is not None
    assert 40 <= len(text) <= 250
    assert text.endswith(".")
    assert text != home["content"], "it has no description of its own"


def test_says_what_a_shared_link_shows(page: BeautifulSoup, site: Path) -> None:
    shared = {
        str(meta.get("property") or meta.get("name")): str(meta["content"])
        for meta in page.select("meta[content]")
    }
    assert shared["og:title"] == shared["twitter:title"]
    assert shared["og:description"] == shared["twitter:description"] == shared["description"]
    canonical = page.select_one("link[rel=canonical]")
    assert canonical is not None
    assert shared["og:url"] == canonical["href"]
    assert shared["og:image"] == shared["twitter:image"]
    home = str(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["site_url"])
    assert shared["og:image"].startswith(home)
    assert (site / shared["og:image"].removeprefix(home)).exists()


def test_has_one_h1_and_skips_no_level(article: Tag) -> None:
    levels = [int(heading.name[1]) for heading in article.select("h1, h2, h3, h4, h5, h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    for above, below in pairwise(levels):
        assert below <= above + 1


def test_ids_are_unique(page: BeautifulSoup) -> None:
    counts = Counter(str(element["id"]) for element in page.select("[id]"))
    assert [name for name, count in counts.items() if count > 1] == []


def test_figures_say_their_size(article: Tag, site: Path, source: str) -> None:
    for image in article.select('img[src$=".svg"]'):
        file = site / unquote(urljoin(html_of(source), str(image["src"])))
        svg = file.read_text(encoding="utf-8")
        size = re.search(r'width="([\d.]+)(pt)?" height="([\d.]+)(?:pt)?"', svg)
        assert size is not None
        width, unit, height = size.groups()
        said = [int(str(image[side])) for side in ("width", "height")]
        pixels = 4 / 3 if unit else 1  # three points are four pixels
        assert said == [round(float(side) * pixels) for side in (width, height)]


def test_asks_no_other_host(page: BeautifulSoup, source: str) -> None:
    asked = [
        str(element[attribute])
        for name, attribute in LOADS.items()
        for element in page.select(f"{name}[{attribute}]")
    ]
    asked += [
        str(link["href"])
        for link in page.select("link[href]")
        if LINKS_THAT_LOAD & set(link.get_attribute_list("rel"))
    ]
    asked += [
        candidate.split()[0]
        for element in page.select("[srcset]")
        for candidate in str(element["srcset"]).split(",")
    ]
    styles = [element.get_text() for element in page.select("style")]
    styles += [str(element["style"]) for element in page.select("[style]")]
    asked += ["".join(match) for style in styles for match in CSS_LOADS.findall(style)]
    assert asked, "the selectors find nothing"
    assert [url for url in asked if urlsplit(url).netloc] == []
    scripts = [script.get_text() for script in page.select("script:not([src])")]
    assert [found for script in scripts for found in OUTSIDE.findall(script)] == []
    # Material's script fetches its diagrams' library and a repository's stars from elsewhere,
    # but only for a page that has one of these.
    assert page.select(".mermaid, [data-md-component=source], [data-md-component=consent]") == []


def test_every_picture_has_a_text(page: BeautifulSoup, article: Tag) -> None:
    assert [str(image) for image in page.select("img") if not image.get("alt")] == []
    for image in article.select("img:not(.twemoji)"):
        alt = str(image["alt"])
        assert alt[0].isupper(), alt
        assert alt.endswith("."), alt
        assert len(alt.split()) >= 5, alt
    for figure in article.select("figure"):
        assert figure.select_one("figcaption") is not None


def test_maths_and_markdown_are_rendered(article: Tag, source: str) -> None:
    text = text_outside_code(article)
    left = re.findall(
        r"\$\$|\$[^\s$][^$\n]*\$|\\[a-z]{2,}|```|`|^[!?]{3} |^=== |\]\(|\*\*", text, re.M
    )
    assert left == []
    written = (DOCS / source).read_text(encoding="utf-8")
    if re.search(r"^\$\$", written, re.M):
        assert article.select("math[display=block]")


def test_a_formula_in_a_line_fits_a_phone(article: Tag) -> None:
    formulas = [math.get_text() for math in article.select("math:not([display])")]
    assert [text for text in formulas if len(text) > 24] == [], "write $$...$$: that scrolls"


def test_links_lead_somewhere(page: BeautifulSoup, site: Path, source: str) -> None:
    here = "https://site/" + html_of(source).removesuffix("index.html")
    broken = []
    for link in page.select("a[href]"):
        url = urljoin(here, str(link["href"]))
        if urlsplit(url).netloc != "site" or urlsplit(url).scheme != "https":
            continue
        path = site / unquote(urlsplit(url).path).lstrip("/")
        target = path / "index.html" if path.is_dir() else path
        anchor = unquote(urlsplit(url).fragment)
        found = target.exists()
        if found and anchor and target.suffix == ".html":
            found = anchor in anchors(target)
        if not found:
            broken.append(url)
    assert broken == []


@cache
def anchors(page: Path) -> frozenset[str]:
    soup = read(page)
    return frozenset(
        str(element[key]) for key in ("id", "name") for element in soup.select(f"[{key}]")
    )


def test_the_edit_link_names_the_source(page: BeautifulSoup, source: str) -> None:
    links = [str(link["href"]) for link in page.select("a[href][rel=edit], a.md-content__button")]
    assert len(links) == 1
    assert links[0].endswith(f"/edit/main/docs/{source}")


def test_is_readable_without_scripts(article: Tag, source: str) -> None:
    written = (DOCS / source).read_text(encoding="utf-8")
    mark = r"^# ## (.+)$" if source.endswith(".py") else r"^## (.+)$"
    headings = [heading.get_text() for heading in article.select("h2")]
    assert len(headings) >= len(
        re.findall(mark, re.sub(r"```.*?```", "", written, flags=re.S), re.M)
    )
    assert len(article.get_text().split()) > 30
    hidden = [str(element)[:80] for element in article.select("[hidden]")]
    assert hidden == []


def test_a_notebook_can_be_downloaded(page: BeautifulSoup, site: Path, source: str) -> None:
    links = page.select("a[download]")
    if not source.endswith(".py"):  # of the notebook and the script that are made of a page
        assert len(links) in {0, 2}
        return
    (link,) = links
    text = ((site / html_of(source)).parent / str(link["href"])).read_text(encoding="utf-8")
    notebook = yaml.safe_load(text)  # JSON is YAML
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    first, *cells = code
    assert first["id"] == "install"  # for Colab: it is not run here
    assert all(cell["execution_count"] for cell in cells)
    assert any(cell["outputs"] for cell in cells)
