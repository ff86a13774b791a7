# What a person types. Everything lives in .venv, made from the hash-pinned lock files.

SHELL := /bin/sh
VENV  := .venv
BIN   := $(VENV)/bin
NODE  := tests/e2e/node
CLIS  := tests/e2e/clis

# An interpreter built with optimisations (Debian's, the official images') is a quarter faster than a plain build,
# so one is preferred when it is there: deploy/python.sh looks, PYTHON=... decides.
PYTHON ?= $(shell sh deploy/python.sh)

# Test processes at once: two for each core, as half of a test's time is waiting. A file's tests stay together.
# `make test JOBS=0` runs them one after the other.
JOBS ?= $(shell expr 2 '*' $$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN))

# The tests start hundreds of gateways; each would compile the whole program anew.
unexport PYTHONDONTWRITEBYTECODE

PIP := $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes

.PHONY: run setup packages test lint check bench lock clean

run: $(VENV)/.runtime
	@$(BIN)/loopway demo

setup: $(VENV)/.dev

packages: $(NODE)/node_modules/.stamp $(CLIS)/node_modules/.stamp

test: $(VENV)/.dev packages
	@sh tests/services.sh
	$(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest tests/test_floors.py

bench: $(VENV)/.dev
	$(BIN)/python -m loadtests --short

# Writes the lock files anew, which needs uv and npm; review the difference before you commit it.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra dev --extra bench --extra otel \
	    -c requirements.lock pyproject.toml -o requirements-dev.lock
	cd $(NODE) && npm install --package-lock-only --no-audit --no-fund
	cd $(CLIS) && npm install --package-lock-only --no-audit --no-fund

clean:
	rm -rf $(VENV) $(NODE)/node_modules $(CLIS)/node_modules

$(BIN)/python:
	@python="$(PYTHON)"; test -n "$$python" && "$$python" -m venv $(VENV)

$(VENV)/.runtime: $(BIN)/python requirements.lock pyproject.toml deploy/link.sh
	@echo "Installing what Loopway needs into $(VENV) ..."
	@$(PIP) --only-binary :all: -r requirements.lock
	@sh deploy/link.sh $(BIN)/python
	@touch $@

$(VENV)/.dev: $(BIN)/python requirements-dev.lock pyproject.toml deploy/link.sh
	@echo "Installing what development needs into $(VENV) ..."
	@$(PIP) --prefer-binary -r requirements-dev.lock
	@sh deploy/link.sh $(BIN)/python
	@touch $@ $(VENV)/.runtime

$(NODE)/node_modules/.stamp: $(NODE)/package-lock.json
	@command -v npm >/dev/null || { echo "make test runs Node's SDKs as well: install Node 20 or newer with npm" >&2; exit 1; }
	cd $(NODE) && npm ci --loglevel=error --no-audit --no-fund
	@touch $@

# Claude Code and gemini-cli: half a gigabyte. They run without what their packages would do on installation.
$(CLIS)/node_modules/.stamp: $(CLIS)/package-lock.json
	@command -v npm >/dev/null || { echo "make test runs Claude Code and gemini-cli as well: install Node 20 or newer with npm" >&2; exit 1; }
	cd $(CLIS) && npm ci --ignore-scripts --loglevel=error --no-audit --no-fund
	@touch $@
