# What a person types. Everything lives in .venv, made from the hash-pinned lock files.

SHELL := /bin/sh
VENV  := .venv
BIN   := $(VENV)/bin

# An interpreter built with optimisations (Debian's, the official images') is a quarter faster than a plain build,
# so one is preferred when it is there: deploy/python.sh looks, PYTHON=... decides.
PYTHON ?= $(shell sh deploy/python.sh)

.PHONY: run setup test check bench lock clean

run: $(VENV)/.runtime
	@$(BIN)/loopway demo

setup: $(VENV)/.dev

test: $(VENV)/.dev tests/e2e/node/node_modules/.stamp
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_floors.py

bench: $(VENV)/.dev
	$(BIN)/python -m loadtests --short

# Writes both lock files anew; review the difference before you commit it.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra dev --extra bench \
	    -c requirements.lock pyproject.toml -o requirements-dev.lock

clean:
	rm -rf $(VENV) tests/e2e/node/node_modules

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(VENV)/bin/python requirements.lock pyproject.toml
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	@sh deploy/link.sh $(BIN)/python
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python requirements-dev.lock pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --prefer-binary -r requirements-dev.lock
	@sh deploy/link.sh $(BIN)/python
	@touch $@ $(VENV)/.runtime

tests/e2e/node/node_modules/.stamp: tests/e2e/node/package-lock.json
	cd tests/e2e/node && npm ci --silent --no-audit --no-fund
	@touch $@
