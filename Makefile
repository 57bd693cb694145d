# `make help` lists the targets. Each sets up what it needs, once, in .venv.
#
#   PYTHON=python3.12   the Python to make .venv with
#   NUMPY=2.0.2         another NumPy than the pinned one
#   PORT=8000           where `make serve` listens

PYTHON :=
NUMPY ?=
PORT := 8000

BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
RUN := $(BIN)/python

# Material's notice about MkDocs 2 is known here; UTF-8 is not the default on Windows.
export NO_MKDOCS_2_WARNING := 1
export PYTHONUTF8 := 1

.DEFAULT_GOAL := help
.PHONY: help serve test test-peers test-pages site lint bench page clean setup

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s%s\n", $$1, $$2 }' Makefile

serve: setup ## show the site at http://127.0.0.1:8000 and rebuild it at each change
	@echo "Serving http://127.0.0.1:$(PORT) (Ctrl-C stops it)"
	@$(RUN) -m mkdocs serve --dev-addr 127.0.0.1:$(PORT)

test: lint site ## prove everything: style, types, the package, the pages, the site
	$(RUN) -m pytest -n 2 --ignore tests/peers tests docs README.md src/attention_ref --doctest-modules

test-peers: setup ## judge the package by ONNX, JAX, transformers and flash-linear-attention
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group peers
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps fla-core
	$(RUN) -m pytest -n 2 tests/peers

test-pages: site ## prove the pages alone: their blocks, the build, the built pages
	$(RUN) -m pytest -n 2 docs README.md tests/pages/test_rendered.py

site: setup ## build site/, strictly
	$(RUN) -m mkdocs build --strict

lint: setup ## check formatting, style, types and spelling
	$(RUN) -m ruff format --check
	$(RUN) -m ruff check
	$(RUN) -m mypy
	$(RUN) -m codespell_lib

bench: setup ## measure the page engine beside others, and a strict build
	PYTHONPATH=tests $(RUN) -m pages.bench

page: setup ## lay down a page that passes: make page NAME=learn/foo TITLE="Foo"
	@$(RUN) -m attention_docs.new_page "$(NAME)" "$(TITLE)"

clean: ## remove what the other targets made, but for .venv
	rm -rf site dist build .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache

setup:
	@sh .ci/setup "$(PYTHON)" "$(NUMPY)"
