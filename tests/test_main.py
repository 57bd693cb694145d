"""The conformance kit, from a shell."""

import json
import re
import subprocess
import sys

import pytest

from attention_ref.__main__ import main

HELP = """\
usage: python -m attention_ref [-h] check ...

Attention, executed: a reference, and a check of your own attention.

positional arguments:
  check
    check     check a function against the reference

options:
  -h, --help  show this help message and exit
"""
HELP_OF_CHECK = """\
usage: python -m attention_ref check [-h] [--convention CONVENTION] [--features FEATURES]
                                     [--dtype DTYPE] [--device DEVICE] [--json]
                                     MODULE:FUNCTION

Check an attention function against the reference. The exit code is 0 if all holds, 1 if something
is wrong, 2 if the function could not be tried.

positional arguments:
  MODULE:FUNCTION       such as my_module:my_attention

options:
  -h, --help            show this help message and exit
  --convention CONVENTION
                        whose arguments it takes
  --features FEATURES   what it can do, with commas between: mask, bias, causal, cached, window,
                        grouped, scale, softcap, sink, d_v, dead_rows, isolation, float64, half,
                        gradient; without this, all that the library of the convention holds
  --dtype DTYPE         the dtype of all cases, such as bfloat16
  --device DEVICE       where the arrays are, such as cuda
  --json                print the report as JSON
"""


@pytest.mark.parametrize(("command", "text"), [([], HELP), (["check"], HELP_OF_CHECK)])
def test_the_help_says_what_can_be_given(command, text, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    assert capsys.readouterr().out == text


def test_a_shell_can_ask(capsys):
    assert main(["check", "torch.nn.functional:scaled_dot_product_attention"]) == 0
    assert "called as torch" in capsys.readouterr().out
    assert main(["check", "operator:add", "--features", "", "--json"]) == 1
    printed = capsys.readouterr().out
    report = json.loads(printed)
    assert report["diagnoses"][0]["name"] == "raises"
    assert printed == json.dumps(report, indent=2) + "\n"
    for path in ("no_such_module:f", "math:no_such_name", "collections:Counter"):
        assert main(["check", path]) == 2
        assert re.fullmatch(r"attention_ref: .*\n", capsys.readouterr().err)
    assert main(["check", "math:sin", "--convention", "nothing"]) == 2
    with pytest.raises(SystemExit, match="2"):
        main([])


@pytest.mark.parametrize("path", ["math", "math:", ":sin"])
def test_a_function_has_a_module_and_a_name(path, capsys):
    assert main(["check", path]) == 2
    error = f"attention_ref: the function must be given as MODULE:FUNCTION, got {path}\n"
    assert capsys.readouterr().err == error


def test_a_module_in_the_current_folder_is_found_first(tmp_path, monkeypatch, capsys):
    name = "found_in_the_current_folder"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / f"{name}.py").write_text("")
    (tmp_path / f"{name}.py").write_text("attention = list")
    monkeypatch.chdir(tmp_path)
    others = [folder for folder in sys.path if folder]
    monkeypatch.setattr(sys, "path", [str(tmp_path / "elsewhere"), *others])
    try:
        assert main(["check", f"{name}:attention"]) == 2
    finally:
        sys.modules.pop(name, None)
    assert "must be a function, got a class" in capsys.readouterr().err


def test_the_module_is_a_command():
    command = [sys.executable, "-m", "attention_ref", "check", "operator:add", "--features", ""]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "raises" in done.stdout
