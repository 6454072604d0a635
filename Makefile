# Every target does its own set-up; all that must be there is Python 3.11 or newer, git and make.

PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := .venv/bin
ROWS ?= 100000

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check format bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: .venv/installed ## import 100,000 users with a live progress bar (ROWS=n for another number)
	@$(RUN)/haulage demo --rows $(ROWS)

test: .venv/installed ## run the tests (real PostgreSQL and NATS, started and stopped by the tests)
	$(RUN)/pytest

test-all: .venv/installed ## run the tests that take minutes, too
	$(RUN)/pytest -m "slow or not slow" --timeout 1800

check: .venv/installed ## format, lint, types, import rule, dead code
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/vulture

format: .venv/installed ## format and mend what can be mended by itself
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

bench: .venv/installed ## measure the import beside raw SQL and a peer
	$(RUN)/haulage bench import

clean: ## remove what set-up made
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build

# uv where it is missing, in a private venv. A Python without ensurepip gets a venv without pip, and pip from outside.
.uv/bin/uv:
	@$(PYTHON) -m venv .uv 2>/dev/null || $(PYTHON) -m venv --without-pip .uv
	@.uv/bin/python -m pip install --quiet uv 2>/dev/null \
		|| $(PYTHON) -m pip --python .uv/bin/python install --quiet uv \
		|| { echo "make: could not install uv. Install it (https://docs.astral.sh/uv) or Debian's python3-venv, then try again." >&2; exit 1; }

.venv/installed: pyproject.toml uv.lock $(filter .uv/bin/uv,$(UV))
	@$(UV) sync --quiet --frozen --python "$$(command -v $(PYTHON))"
	@touch $@
