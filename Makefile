SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# Relative paths only: the checkout's path may hold spaces.
BIN := .venv/bin
PYTHON := $(BIN)/python
# Made after a complete installation; holds the checkout's path, because a virtual environment doesn't survive a move.
STAMP := .venv/installed
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(shell pwd -P))
$(shell rm -f $(STAMP))
endif

export DAGSTER_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests and checks never see the user's own instance or state.
APART := env -u DAGSTER_HOME -u ZEOTAP_STATE
# dg warns of a virtual environment that isn't active, and sends telemetry unless DAGSTER_HOME says otherwise.
DG := env -u ZEOTAP_STATE VIRTUAL_ENV="$$PWD/.venv" DAGSTER_HOME="$$PWD/data/state/check" $(BIN)/dg

.PHONY: help demo demo-full dev test check bench bench-100m bench-contenders chaos peers mutants mutants-generic clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' Makefile

demo: $(STAMP) ## real audiences to all four services, checked against what they then hold (KEEP=1: go on)
	@$(BIN)/zeotap demo

demo-full: $(STAMP) ## the same with a month of profiles, credits and tables, one request each
	@$(BIN)/zeotap demo --purchases 31

dev: $(STAMP) ## the Dagster UI and the sandbox together; prints the address (PORT=3001; 0 takes a free one)
	@$(BIN)/zeotap dev $(if $(PORT),--port $(PORT))

test: $(STAMP) ## ruff, mypy and every test
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m ruff format --check
	@$(PYTHON) -m mypy
	@sh scripts/chromium
	@$(APART) $(PYTHON) -m pytest --numprocesses $$(($$(nproc) + 2)) --dist worksteal

check: $(STAMP) ## ruff, mypy, the YAML definitions, the installed packages and what is known against them (AUDIT=required)
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m ruff format --check
	@$(PYTHON) -m mypy
	@mkdir -p data/state/check && cp dagster.yaml data/state/check/dagster.yaml
	@$(DG) check yaml
	@$(DG) check defs
	@$(PYTHON) -m pip check
	@$(PYTHON) scripts/audit.py $(if $(filter required,$(AUDIT)),--required)

bench: $(STAMP) ## every figure with its contenders in turn, and which goals are met (DOCUMENT=1: into docs)
	@$(APART) $(PYTHON) -m benchmarks; ended=$$?; $(if $(DOCUMENT),$(PYTHON) -m benchmarks.document || ended=$$?;) exit $$ended

bench-100m: $(STAMP) ## the diff of a hundred million members: about 10 minutes, 40 GB below TMPDIR (DOCUMENT=1: into docs)
	@$(APART) $(PYTHON) -m benchmarks "diff of a hundred million"; ended=$$?; \
	$(if $(DOCUMENT),$(PYTHON) -m benchmarks.document || ended=$$?;) exit $$ended

bench-contenders: $(STAMP) ## only install what the figures are compared with, each in an environment of its own
	@$(APART) $(PYTHON) -m benchmarks --install

chaos: $(STAMP) ## processes killed a thousand times while the services fail: nothing lost, nothing doubled (SEED=7 JSON=FILE)
	@$(APART) $(PYTHON) -m benchmarks.chaos --kills 1000 $(if $(SEED),--seed $(SEED)) $(if $(JSON),--json $(JSON))

peers: $(STAMP) ## what becomes of credits and a group under trouble, here and with what others use (DOCUMENT=1: into docs)
	@$(APART) $(PYTHON) -m benchmarks.peers $(if $(DOCUMENT),--document)

mutants: $(STAMP) ## the code broken in dozens of ways, one at a time: some test must fail each time
	@$(APART) $(PYTHON) -m benchmarks.mutants

mutants-generic: $(STAMP) ## what a generic mutator changes in the core, a sample of it (SAMPLE=100 SEED=1)
	@$(APART) $(PYTHON) -m benchmarks.generic --sample $(or $(SAMPLE),100) --seed $(or $(SEED),1)

clean: ## remove .venv, artefacts and caches; data/state stays, for it knows what was delivered
	rm -rf .venv data/state/check artefacts dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find zeotap_pipelines zeotap_pipelines_tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@if [ -d .venv ] && [ ! -e $(STAMP) ]; then rm -rf .venv; fi
	@sh scripts/venv
	@echo 'installing the pinned packages into .venv'
	@$(PYTHON) -m pip install --quiet --no-input --constraint constraints.txt --editable '.[dev]'
	@pwd -P > $(STAMP)
