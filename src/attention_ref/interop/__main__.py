"""Print the table of differences, or write it into a page: `python -m attention_ref.interop`."""

import argparse
from pathlib import Path

from attention_ref.interop._conventions import (
    DOCUMENTED,
    MISSING,
    QUESTIONS,
    Answer,
    conventions,
)

START, END = (
    "<!-- written by python -m attention_ref.interop: {} -->\n",
    "\n<!-- as far as this -->",
)
LIBRARIES = "the libraries"


def tables(answers: list[Answer]) -> dict[str, str]:
    """Return a Markdown table for each question, and one of the libraries that were asked."""
    written = {LIBRARIES: _libraries(answers)}
    for question in QUESTIONS:
        rows: dict[str, list[str]] = {}
        for answer in answers:
            if answer.question == question and answer.how != MISSING:
                note = " (documented)" if answer.how == DOCUMENTED else ""
                rows.setdefault(answer.answer, []).append(answer.library + note)
        lines = [f"| {question} | libraries |", "|---|---|"]
        lines += [f"| {answer} | {', '.join(names)} |" for answer, names in rows.items()]
        written[question] = "\n".join(lines)
    return written


def _libraries(answers: list[Answer]) -> str:
    lines = ["| library | version | how its answers were found |", "|---|---|---|"]
    for answer in answers:
        if answer.question == answers[0].question and answer.library != "attention_ref":
            lines.append(f"| {answer.library} | {answer.version} | {answer.how} |")
    return "\n".join(lines)


def updated(page: str, answers: list[Answer]) -> str:
    """Return the page with the tables between its markers written anew."""
    for question, table in tables(answers).items():
        start = START.format(question)
        before, marker, after = page.partition(start)
        if not marker:
            raise ValueError(f"the page must have a line {start.strip()}")
        _, end, rest = after.partition(END)
        page = f"{before}{start}\n{table}\n{end}{rest}"
    return page


def main(arguments: list[str] | None = None) -> None:
    """Ask the libraries, then print the tables or update a page."""
    parser = argparse.ArgumentParser(prog="python -m attention_ref.interop", description=__doc__)
    parser.add_argument("--update", type=Path, metavar="PAGE", help="write between its markers")
    page = parser.parse_args(arguments).update
    answers = conventions()
    if page is None:
        print("\n\n".join(tables(answers).values()))
        return
    missing = sorted({answer.library for answer in answers if answer.how == MISSING})
    if missing:
        parser.error(
            f"every library must be installed to update a page, got no {', '.join(missing)}"
        )
    page.write_text(updated(page.read_text(encoding="utf-8"), answers), encoding="utf-8")


if __name__ == "__main__":
    main()
