"""The table of differences, printed or written into a page from a shell."""

import io

import pytest

from attention_ref.interop import __main__ as program
from attention_ref.interop.__main__ import LIBRARIES, main, tables, updated
from attention_ref.interop._conventions import DOCUMENTED, MISSING, QUESTIONS, Answer

QUESTION, ANOTHER, *_ = QUESTIONS
ANSWERS = [
    Answer(QUESTION, "attention_ref", "may attend", "1.0", "run"),
    Answer(ANOTHER, "attention_ref", "TypeError", "1.0", "run"),
    Answer(QUESTION, "one", "is hidden", "2.0", "run"),
    Answer(QUESTION, "two", "may attend", "3.0", DOCUMENTED),
]
LACKING = Answer(QUESTION, "three", "", "", MISSING)
START = f"<!-- written by python -m attention_ref.interop: {QUESTION} -->"
END = "<!-- as far as this -->"


def test_each_question_has_a_table_of_who_answers_what(monkeypatch, capsys):
    monkeypatch.setattr(program, "conventions", lambda: [*ANSWERS, LACKING])
    main([])
    printed = capsys.readouterr().out
    assert printed == "\n\n".join(tables([*ANSWERS, LACKING]).values()) + "\n"
    assert printed.startswith(
        "| library | version | how its answers were found |\n|---|---|---|\n"
        f"| one | 2.0 | run |\n| two | 3.0 | {DOCUMENTED} |\n| three |  | {MISSING} |\n\n"
        f"| {QUESTION} | libraries |\n|---|---|\n"
        "| may attend | attention_ref, two (documented) |\n| is hidden | one |\n\n"
        f"| {ANOTHER} | libraries |\n|---|---|\n| TypeError | attention_ref |\n\n"
    )
    assert list(tables(ANSWERS)) == [LIBRARIES, *QUESTIONS]


def test_a_page_is_written_between_its_markers(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(program, "conventions", lambda: ANSWERS)
    monkeypatch.setattr(program, "QUESTIONS", [QUESTION])
    markers = START.replace(QUESTION, LIBRARIES), START
    page = tmp_path / "page.md"
    page.write_text("".join(f"é\n{one}\nstale\n\n{END}\n" for one in markers), encoding="utf-8")
    # As on a platform whose own encoding has no such letter.
    monkeypatch.setattr(io, "text_encoding", lambda given, stacklevel=2: given or "ascii")
    main(["--update", str(page)])
    assert capsys.readouterr().out == ""
    assert page.read_text(encoding="utf-8") == "".join(
        f"é\n{one}\n\n{table}\n\n{END}\n"
        for one, table in zip(markers, tables(ANSWERS).values(), strict=True)
    )
    for text in (f"{START}\n\n{END}\n", f"{markers[0]}\n\n{END}\n", markers[0]):
        with pytest.raises(ValueError, match="the page must have a line <!-- "):
            updated(text, ANSWERS)


def test_a_page_is_not_written_where_a_library_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(program, "conventions", lambda: [*ANSWERS, LACKING])
    page = tmp_path / "page.md"
    with pytest.raises(SystemExit, match="2"):
        main(["--update", str(page)])
    assert capsys.readouterr().err.endswith(
        "python -m attention_ref.interop: error: every library must be installed to update a page, "
        "got no three\n"
    )
    assert not page.exists()


def test_the_help_says_what_can_be_given(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert capsys.readouterr().out == (
        "usage: python -m attention_ref.interop [-h] [--update PAGE]\n\n"
        "Print the table of differences, or write it into a page: "
        "`python -m attention_ref.interop`.\n\n"
        "options:\n  -h, --help     show this help message and exit\n"
        "  --update PAGE  write between its markers\n"
    )
