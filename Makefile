# `make run` and `make test` are all a newcomer needs: each sets up what it lacks.

PYTHON ?= python3
CLOUD ?= embedded
PIP_ARGS ?=
LAB_ARGS ?=
PYTEST_ARGS ?=
NAME ?=

BIN := .venv/bin
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help run reports lab test lint format bench up down status doctor lock clean

help:  ## what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-9s %s\n", $$1, $$2}'
	@echo "  Variables: CLOUD=embedded|localstack|aws (run, lab, up)  NAME=\"…\" (bench)  PYTHON=python3.12  PIP_ARGS=\"…\" (first set-up)  LAB_ARGS=\"…\" (lab)"

run: $(READY)  ## the main job: real events through the whole pipeline, then a report
	@exec $(BIN)/workbench report 00-quickstart -p cloud=$(CLOUD)

reports: $(READY)  ## execute every notebook → reports/index.html
	@exec $(BIN)/workbench report --all

lab: $(READY)  ## JupyterLab with the cloud up
	@exec $(BIN)/workbench lab --cloud $(CLOUD) $(LAB_ARGS)

test: $(READY)  ## unit, contract, integration, notebook and browser tests
	@exec $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

lint: $(READY)  ## style, the stack's template, stripped notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cfn-lint localstack/stack.yaml
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb

format: $(READY)  ## put code and notebooks in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id notebooks/*.ipynb

bench: $(READY)  ## every figure that is claimed, against its baseline → reports/benchmarks.json
	@exec $(BIN)/workbench bench $(NAME)

up: $(READY)  ## start the local servers and keep them
	@exec $(BIN)/workbench up --cloud $(CLOUD)

down: $(READY)  ## end the local servers
	@exec $(BIN)/workbench down

status: $(READY)  ## what runs
	@exec $(BIN)/workbench status

doctor: $(READY)  ## what is missing, and how to get it
	@exec $(BIN)/workbench doctor

lock: $(READY)  ## pin every package anew, from pyproject.toml
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/pip install -q pip-tools==7.6.2
	.venv/lock/bin/pip-compile -q --extra dev --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host --no-annotate --no-header -o .venv/lock/requirements.lock pyproject.toml
	(head -1 requirements.lock; sed 's/+cpu$$//' .venv/lock/requirements.lock) > requirements.new && mv requirements.new requirements.lock

clean:  ## remove the environment, caches, logs, results and reports
	@if [ -x $(BIN)/workbench ]; then $(BIN)/workbench down >/dev/null; fi
	rm -rf .venv .workbench build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find reports -mindepth 1 ! -name README.md -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --no-compile: Python compiles what it imports, a tenth of what is installed.
# Made anew when the lock or the project's metadata changes; the stamp is set last, so an interrupted set-up is begun again.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make run PYTHON=python3.12")'
	@echo "Setting up .venv (about 1.9 GB, some minutes, once) …"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --no-compile $(PIP_ARGS) -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@
