"""Random pages, put together from what Markdown and pymdownx make of a line."""

from __future__ import annotations

from random import Random

LINES = (
    *("", "", "text", "more text", "- item", "1. item", "* item", "!!! note", '!!! note "T"'),
    *('??? tip "Q"', '=== "A"', '=== "B"', '=== "A"', "> quote", ">", "```python", "print(1)"),
    *("```", "```text", "1", "```json", "{}", "~~~python", "~~~", "````markdown", "````", "# H"),
    *("## H", "[^1]: foot", ":   def", "<div markdown>\n\ntext\n\n</div>", "<div>", "<b>x"),
    *("<figure markdown>\n\n```json\n{}\n```\n\n</figure>", "<!-- c -->", "| a | b |", "| - | - |"),
    *(
        "<!--pytest-codeblocks:not-output(x)-->",
        "| `x` | y |",
        "$x$",
        "\n$$\nx\n$$\n",
        "x = 1",
        "\\begin{bmatrix}",
    ),
    *("---", "***", "text[^1]", "*[HTML]: x", "![a b c.](x.png)", "    ", "`a", "b`", "::: foo"),
    *(
        "[a]: http://x",
        "===",
        " - x",
        "  text",
        "    text",
        "</p>",
        "<p>",
        "&lt;pre>",
        "\\```python",
    ),
)
PREFIXES = (
    "",
    "",
    "",
    "",
    "",
    "    ",
    "    ",
    "        ",
    "> ",
    "> ",
    "  ",
    "   ",
    "> > ",
    "    > ",
)
FENCES = (
    ("```python", "print(1)", "```"),
    ("```python", "a", "", "    b", "```", "", "```text", "1", "```"),
    ("```json", "{}", "```"),
    ("````markdown", "```python", "x", "```", "````"),
    ("<!--pytest-codeblocks:not-output(x)-->", "```text", "1", "```"),
    ('```python title="a"', "print(1)", "```"),
)


def page(random: Random) -> str:
    """Return a page. Most are outside the dialect; about one in eight is not."""
    lines: list[str] = []
    prefix = ""
    for _ in range(random.randint(2, 9)):
        if random.random() < 0.5:
            prefix = random.choice(PREFIXES)
        if random.random() < 0.35:
            if random.random() < 0.8:
                lines.append(random.choice((prefix.rstrip(), "")))
            lines += [f"{prefix}{line}" if line else "" for line in random.choice(FENCES)]
            lines += random.choice(([], [""]))
        else:
            lines.append(prefix + random.choice(LINES))
            lines += random.choice(([], [""]))
    return "\n".join(lines) + "\n"
