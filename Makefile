# make demo    set up what is missing and run the story        (ONCE=1: end after it)
# make test    set up what is missing and run the tests
# make lint    format, lint, types, layers
# make netns   test calls from private addresses, in a network namespace (root only)
# make bench   measure calls, revocations, applies and memory  (needs nginx and wrk)
# make storm   let parts fail under load, and judge each answer (fills a small disk only as root)
# make docs    write the generated pages again

PYTHON ?= python3
BIN := .venv/bin
RUN_READY := .venv/.run-ready
DEV_READY := .venv/.dev-ready
ONCE ?=
WORKERS ?= 2

.PHONY: setup demo test lint netns bench storm docs lock clean

setup: $(RUN_READY)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Scopeward needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv

$(RUN_READY): $(BIN)/python requirements/run.lock requirements/build.lock pyproject.toml
	@echo "setting up .venv (about 20 s) …"
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.lock -r requirements/build.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_READY): $(RUN_READY) requirements/dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@

demo: $(RUN_READY)
	$(BIN)/scopeward demo $(if $(ONCE),--once)

test: $(DEV_READY)
	$(BIN)/pytest -n $(WORKERS) --dist loadscope

lint: $(DEV_READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.docs --check

netns: $(DEV_READY)
	$(BIN)/python -m tests.security.private_addresses

bench: $(DEV_READY)
	$(BIN)/python -m bench

storm: $(DEV_READY)
	$(BIN)/python -m storm

docs: $(DEV_READY)
	$(BIN)/python -m tools.docs

# Locks hold versions and hashes and no address: any index serves.
lock:
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --no-header --no-emit-index-url pyproject.toml -o requirements/run.lock
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --no-header --no-emit-index-url -c requirements/run.lock requirements/build.in -o requirements/build.lock
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --no-header --no-emit-index-url -c requirements/run.lock -c requirements/build.lock --group dev pyproject.toml -o requirements/dev.lock

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
