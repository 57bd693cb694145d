"""A notebook becomes a page like the others, or stops the build."""

from base64 import b64encode
from pathlib import Path

import nbformat
import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import PluginError
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from attention_docs.notebooks import to_markdown, with_drawings_beside

ROOT = Path(__file__).parents[2]


def notebook(*outputs: NotebookNode, **metadata: str) -> NotebookNode:
    code = new_code_cell("show()\nagain()", outputs=list(outputs), metadata=metadata)
    return new_notebook(cells=[new_markdown_cell("# One\n\n$x^2$"), code])


def picture(kind: str, data: str) -> NotebookNode:
    return new_output("display_data", data={kind: data, "text/plain": "<Figure>"})


def test_text_code_and_outputs_stay_in_order() -> None:
    stream = new_output("stream", name="stdout", text="1\n2\n")
    result = new_output("execute_result", data={"text/plain": "3"}, execution_count=1)
    assert to_markdown(notebook(stream, result), "n.py") == (
        "# One\n\n$x^2$\n\n````python\nshow()\nagain()\n````\n\n"
        "````text\n1\n2\n````\n\n````text\n3\n````"
    )


def test_what_a_cell_prints_in_pieces_is_one_output() -> None:
    pieces = [new_output("stream", name="stdout", text=text) for text in ("1\n", "2\n")]
    assert to_markdown(notebook(*pieces), "n.py").endswith("````text\n1\n2\n````")
    assert pieces[0].text == "1\n"


def test_a_picture_carries_its_text() -> None:
    shown = notebook(picture("image/png", "iVBO\nRw0K\n"), alt='A line that "rises".')
    assert to_markdown(shown, "n.py").endswith(
        '<p><img class="plot" alt="A line that &quot;rises&quot;." '
        'src="data:image/png;base64,iVBORw0K"></p>'
    )


def test_a_drawing_is_preferred_to_a_picture() -> None:
    both = picture("image/png", "iVBO")
    both.data["image/svg+xml"] = "<svg/>"
    assert "data:image/svg+xml;base64,PHN2Zy8+" in to_markdown(notebook(both, alt="A."), "n.py")


@pytest.mark.parametrize(
    ("size", "pixels"), [('"30" height="20"', (30, 20)), ('"30pt" height="20pt"', (40, 27))]
)
def test_drawings_lie_beside_the_page_and_keep_their_room(
    size: str, pixels: tuple[int, int], tmp_path: Path
) -> None:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width={size}></svg>'
    drawn = svg.replace("></", "><metadata>\nhttps://example.org\n</metadata></")
    one = f'<img alt="A." src="data:image/svg+xml;base64,{b64encode(drawn.encode()).decode()}">'
    html = with_drawings_beside(f"{one}<p>{one}", tmp_path / "n.ipynb")
    room = 'width="{}" height="{}"'.format(*pixels)
    assert html == "<p>".join(
        f'<img alt="A." {room} loading="lazy" src="n-{number}.svg">' for number in (1, 2)
    )
    for number in (1, 2):
        assert (tmp_path / f"n-{number}.svg").read_text(encoding="utf-8") == svg


def test_a_picture_without_a_text_is_refused() -> None:
    with pytest.raises(PluginError, match=r"n\.py: the cell 'show\(\)' shows a picture that has"):
        to_markdown(notebook(picture("image/png", "iVBO")), "n.py")


def test_a_warning_is_refused() -> None:
    stream = new_output("stream", name="stderr", text="DeprecationWarning: no")
    with pytest.raises(PluginError, match=r"n\.py: the cell 'show\(\)' wrote to stderr: Deprec"):
        to_markdown(notebook(stream), "n.py")


def test_the_downloads_are_notebooks(site: Path) -> None:
    downloads = list(site.glob("notebooks/*/*.ipynb"))
    assert len(downloads) == len(list((ROOT / "docs/notebooks").glob("*.py")))
    for download in downloads:
        nbformat.validate(nbformat.read(download, as_version=4))


# The kernel's client closes its sockets only when it is collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_failing_notebook_stops_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "notebooks").mkdir(parents=True)
    (docs / "notebooks/fails.py").write_text("# %% [markdown]\n# # Fails\n\n# %%\n1 / 0\n")
    plugins = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["plugins"]
    config = load_config(
        str(ROOT / "mkdocs.yml"),
        docs_dir=str(docs),
        site_dir=str(tmp_path / "site"),
        nav=[{"Notebook": "notebooks/fails.py"}],
        plugins=[plugin for plugin in plugins if "mkdocs-jupyter" in plugin],
        strict=True,
    )
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        build(config)
