# `make demo` and `make test` each do everything on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo demo-real test test-real lint docs install clean-demo

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/mathtune run demo

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site, in site/; the tests build it too
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test: install lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# With real pretrained models, which are downloaded once; Gemma's terms: MATHTUNE_ACCEPT_LICENSE=1
test-real: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,export]"
	$(BIN)/python -m pytest -m real -s tests/real
	$(BIN)/python -m pytest tests/exporting

# A real model on real problems: fetched once, about a quarter of an hour on 2 cores
demo-real: install
	$(BIN)/python examples/demo_real.py

clean-demo:
	rm -rf runs/demo-*
