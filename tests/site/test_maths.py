"""LaTeX on a page becomes MathML, or stops the build."""

import re

import pytest
from markdown import Markdown

from attention_docs.mathml import LatexError, mathml_text

EXTENSIONS = [
    "attention_docs.maths",
    "admonition",
    "tables",
    "pymdownx.details",
    "pymdownx.superfences",
    "pymdownx.tabbed",
]


def rows(latex: str, *, display: bool = False) -> str:
    """The MathML without `<math>`, and without attributes."""
    text = re.sub(r"<(\w+) [^>]*>", r"<\1>", mathml_text(latex, display=display))
    return text.removeprefix("<math>").removesuffix("</math>")


def html(markdown: str) -> str:
    return Markdown(extensions=EXTENSIONS).convert(markdown)


@pytest.mark.parametrize(
    ("latex", "mathml"),
    [
        ("d_k", "<msub><mi>d</mi><mi>k</mi></msub>"),
        ("x_i^2", "<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>"),
        ("x^2_i", "<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>"),
        ("x'", "<msup><mi>x</mi><mo>′</mo></msup>"),
        (r"K^\top", "<msup><mi>K</mi><mi>⊤</mi></msup>"),
        (r"\frac{1}{2}", "<mfrac><mn>1</mn><mn>2</mn></mfrac>"),
        (r"\sqrt{d_k}", "<msqrt><msub><mi>d</mi><mi>k</mi></msub></msqrt>"),
        (r"\sqrt[3]{x}", "<mroot><mi>x</mi><mn>3</mn></mroot>"),
        (r"1.5 \times x", "<mrow><mn>1.5</mn><mo>×</mo><mi>x</mi></mrow>"),
        (r"a \odot b", "<mrow><mi>a</mi><mo>⊙</mo><mi>b</mi></mrow>"),
        (r"\mathbb{R}", "<mi>ℝ</mi>"),
        (r"\mathbf{x}", "<mi>𝐱</mi>"),
        (r"\mathcal{L}", "<mi>ℒ</mi>"),
        (r"\boldsymbol{\alpha}", "<mi>𝜶</mi>"),
        (r"d_\text{model}", "<msub><mi>d</mi><mtext>model</mtext></msub>"),
        (r"\text{if } x", "<mrow><mtext>if\u00a0</mtext><mi>x</mi></mrow>"),
        (r"\mathrm{head}", "<mi>head</mi>"),
        (r"a\,b", "<mrow><mi>a</mi><mspace></mspace><mi>b</mi></mrow>"),
        (r"\hat y", "<mover><mi>y</mi><mo>^</mo></mover>"),
        (r"{\textstyle \sum} x", "<mrow><mstyle><mo>∑</mo></mstyle><mi>x</mi></mrow>"),
        (r"a \bmod b", "<mrow><mi>a</mi><mo>mod</mo><mi>b</mi></mrow>"),
        (r"\{x\}", "<mrow><mo>{</mo><mi>x</mi><mo>}</mo></mrow>"),
        (r"\left( x \right]", "<mrow><mo>(</mo><mi>x</mi><mo>]</mo></mrow>"),
        (r"\left. x \right|", "<mrow><mi>x</mi><mo>|</mo></mrow>"),
        (r"a < b", "<mrow><mi>a</mi><mo>&lt;</mo><mi>b</mi></mrow>"),
        (r"\sum_i x", "<mrow><munder><mo>∑</mo><mi>i</mi></munder><mi>x</mi></mrow>"),
        (r"\max_j x", "<mrow><munder><mo>max</mo><mi>j</mi></munder><mi>x</mi></mrow>"),
        (
            r"\operatorname{softmax}(x)",
            "<mrow><mo>softmax</mo><mo>(</mo><mi>x</mi><mo>)</mo></mrow>",
        ),
        (r"\operatorname{head}_i", "<msub><mo>head</mo><mi>i</mi></msub>"),
        (
            r"\begin{bmatrix} 1 & 2 \\ 3 & -4 \end{bmatrix}",
            "<mrow><mo>[</mo><mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>2</mn></mtd></mtr>"
            "<mtr><mtd><mn>3</mn></mtd><mtd><mo>−</mo><mn>4</mn></mtd></mtr></mtable><mo>]</mo></mrow>",
        ),
    ],
)
def test_converts(latex: str, mathml: str) -> None:
    assert rows(latex) == mathml


@pytest.mark.parametrize(
    ("latex", "reason"),
    [
        ("", "it is empty"),
        (r"\foo", r"unknown command \foo"),
        (r"\textbf{x}", r"unknown command \textbf"),
        (r"\frac{1}", "it ends too early"),
        (r"\frac{1}{2", "} is missing"),
        ("x}", "unknown command }"),
        ("x^12", "write {12} for 12"),
        ("x_i_j", "two _ on one base"),
        ("a & b", "unknown command &"),
        (r"a \\ b", r"unknown command \\"),
        (r"\left( x", r"\right is missing"),
        (r"\left x \right)", "x is no delimiter"),
        (r"\begin{tikz} \end{tikz}", "unknown environment tikz"),
        (r"\begin{bmatrix} 1 \end{pmatrix}", r"\begin{bmatrix} meets \end{pmatrix}"),
        (r"\begin{bmatrix} 1", "& is missing"),
        (r"\mathbb{+}", r"\mathbb has no +"),
        ("x ü y", "unknown command ü"),
        (r"\operatorname{}", "a function without a name"),
    ],
)
def test_refuses(latex: str, reason: str) -> None:
    with pytest.raises(LatexError) as raised:
        mathml_text(latex)
    assert str(raised.value) == f"the formula ${latex}$: {reason}"


def test_a_minus_sign_is_set_by_what_is_before_it() -> None:
    assert 'form="prefix"' in mathml_text("-x")
    assert 'form="prefix"' in mathml_text("y = -x")
    assert mathml_text(r"\lfloor a \rfloor - x").count("<mo>−</mo>") == 1
    assert "<mo>−</mo>" in mathml_text("y - x")


def test_a_function_stands_off_from_a_letter_but_not_from_a_bracket() -> None:
    assert 'rspace="0.1667em"' in mathml_text(r"\log x")
    assert 'rspace="0"' in mathml_text(r"\log(x)")
    assert 'rspace="0"' in mathml_text(r"\log_2(x)")
    assert 'rspace="0"' in mathml_text(r"\log_{10}(x)")
    assert 'rspace="0.1667em"' in mathml_text(r"\max_{j} x_j")


def test_inline_and_display() -> None:
    page = html("So $d_k$.\n\n$$d_k$$\n\n$$\nd_k\n= 2\n$$\n")
    assert page.count("<math") == 3
    assert page.count('<math display="block">') == 2
    assert page.startswith('<p>So <span class="math"><math><msub>')
    assert "</math></span>.</p>" in page


@pytest.mark.parametrize(
    "around",
    [
        "- an item\n\n    $$x^2$$\n",
        '=== "NumPy"\n\n    $$x^2$$\n',
        "!!! note\n\n    $$x^2$$\n",
        '??? question "Why?"\n\n    $$x^2$$\n',
        "> $$x^2$$\n",
        "| a |\n|---|\n| $x^2$ |\n",
        "**$x^2$**\n",
        "[$x^2$](https://example.org)\n",
    ],
)
def test_maths_is_found_inside(around: str) -> None:
    page = html(around)
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in page
    assert "$" not in page


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $6.",
        "From $5-$7 a head.",
        r"An escaped \$x\$.",
        "In code: `$x$`.",
        "```python\nprice = '$x$'\n```",
        "```text\n$$x$$\n```",
        "    $$x$$",
    ],
)
def test_what_is_no_maths_stays(text: str) -> None:
    page = html(text)
    assert "<math" not in page
    assert "$" in page


@pytest.mark.parametrize("text", ["Text $$x$$ in a line.", "$$x", "$$a$$\nand text", "$$a\n\nb$$"])
def test_display_maths_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(LatexError, match="stands alone between blank lines"):
        html(text)


def test_underscores_and_stars_in_a_formula_are_no_emphasis() -> None:
    page = html("Both $a_i * b_i$ and $c_i * d_i$.")
    assert "<em>" not in page
    assert page.count("<math") == 2
