# Sets up its own .venv, then runs: `make play` walks, `make test` checks, `make lint` only reads the code.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
TESTED := .venv/.ready-to-test

.PHONY: play test lint setup
play: $(STAMP)
	$(BIN)/roam play $(ARGS)

test: lint $(TESTED)
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .

setup: $(STAMP)

# The doctor compiles the renderer once, so that the first start is quick; what it finds missing stops no set-up.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/roam doctor --warm || true
	touch $(STAMP)

# What only tests need, and is too heavy for those who come to walk.
$(TESTED): $(STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,panda]'
	touch $(TESTED)
