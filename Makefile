# Sets itself up: a virtual environment in .venv, from the hashes of requirements-dev.lock.
# Needed: make, and Python 3.11 or later with venv. `make PYTHON=python3.13 …` chooses another one.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
READY := $(VENV)/.ready

export UV_SYSTEM_CERTS = 1
COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/uv pip compile --quiet --universal --generate-hashes \
	--python-version 3.11 --no-emit-index-url --no-annotate pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help run-local test test-containers lint format bench lock

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run-local: $(READY) ## Run the whole pipeline here until Ctrl-C (RUN_LOCAL=native|compose forces one)
	@exec $(RUN) levelgate run-local

test: $(READY) ## Run the unit and integration tests, two files at a time (ARGS='-k word' to choose, '-n 0' for one)
	@$(RUN) pytest --ignore=tests/containers -n 2 --dist loadfile $(ARGS)

test-containers: $(READY) ## Try the image and the compose file, where a Docker engine answers
	@if docker info >/dev/null 2>&1; then $(RUN) pytest tests/containers $(ARGS); \
	else echo "test-containers: skipped, because no Docker engine answers (docker info)"; fi

lint: $(READY) ## Check style, types, imports, dependencies and generated files
	@$(RUN) ruff check --quiet .
	@$(RUN) ruff format --quiet --check .
	@$(RUN) mypy --no-error-summary .
	@$(VENV)/bin/lint-imports >$(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }
	@$(RUN) deptry --no-ansi . 2>$(VENV)/deptry.log || { cat $(VENV)/deptry.log; exit 1; }
	@$(RUN) schemas.generate --check

format: $(READY) ## Format the code and apply safe fixes
	@$(RUN) ruff check --quiet --fix-only .
	@$(RUN) ruff format --quiet .

bench: $(READY) ## Measure receiver and worker on this machine
	@$(RUN) bench $(ARGS)

lock: $(READY) ## Renew the lock files after a change of the dependencies (ARGS=--upgrade for newer versions)
	@$(COMPILE) $(ARGS) --output-file requirements.lock
	@$(COMPILE) $(ARGS) --all-extras --group dev --output-file requirements-dev.lock

$(READY): requirements-dev.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install the package python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11: install a newer one, then make PYTHON=python3.X"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) can't make virtual environments: install the package python3-venv"; exit 1; }
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) pip install --quiet --disable-pip-version-check uv
	@$(VENV)/bin/uv pip sync --quiet --python $(VENV) --require-hashes requirements-dev.lock
	@$(VENV)/bin/uv pip install --quiet --python $(VENV) --no-deps --editable .
	@touch $@
