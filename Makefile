# The commands behind each target are in README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export DAGSTER_HOME ?= $(CURDIR)
ifdef SOURCE
export COWRIE_SQLITE_PATH := $(SOURCE)
endif
ifdef POSTGRES_URL
export COWRIE_POSTGRES_URL := $(POSTGRES_URL)
endif

.PHONY: help install demo test check ui docs lint clean
help:  ## Show these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(STAMP)  ## Create .venv with everything, at the tested versions

demo: $(STAMP)  ## Migrate a generated database (or SOURCE=path, POSTGRES_URL=url) and say where it lies
	$(BIN)/cowrie-assets demo

test: $(STAMP)  ## Run the tests
	$(BIN)/python -m pytest

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test  ## What CI runs

ui: $(STAMP)  ## Serve Dagster on http://127.0.0.1:3000 over this project
	$(BIN)/dagster dev --host 127.0.0.1 --port 3000 --workspace workspace.yaml

docs: $(STAMP)  ## Make the reference from the code and build the documentation into site/
	$(BIN)/python -m cowrie_assets.cli.reference docs/reference
	$(BIN)/zensical build --strict

clean:  ## Delete what was made here: environment, demo, Dagster's storage
	rm -rf $(VENV) .cowrie site storage logs .logs_queue history schedules
