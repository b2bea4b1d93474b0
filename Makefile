# Everything from a bare clone: `make run`, `make test`. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
PRESET ?= paper
PAPER = $(BIN)/python -m bnnrepro
CHOSEN = --preset $(PRESET) $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)
switch = $(if $($1),$(if $(filter 1 y yes true,$($1)),$2,$(if $(filter 0 n no false,$($1)),,$(error $1=$($1): must be 1 or 0))))
STARTED = $(if $(LAUNCHER),--launcher $(LAUNCHER)) $(call switch,YES,--yes) $(call switch,DETACH,--detach) $(call switch,PLAN,--plan)

.DEFAULT_GOAL := help
.PHONY: help setup run data submit status retry cancel reproduce-table table reproduce-figure figure lint types test docs test-slow test-slurm fidelity traps bench format docs-serve wheel clean

##@ Begin

help:  ## list the targets
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-18s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv and install the pinned set into it

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and "Python 3.10 to 3.13 is needed; make PYTHON=python3.11 ... names another one")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

run: $(READY)  ## train a binary network on real digits: the main job (ARGS="key=value ...")
	$(BIN)/python run.py $(ARGS)

data: $(READY)  ## fetch mnist, cifar10 and cifar100 ahead (ARGS="mnist --root DIR")
	$(BIN)/python -m bnnrepro data $(ARGS)

##@ Runs and sweeps

submit: $(READY)  ## submit a sweep (ARGS="--detach hydra/launcher=slurm seed=0,1")
	$(BIN)/python -m bnnrepro submit $(ARGS)

status: $(READY)  ## how all runs stand (ARGS="dataset=mnist method=ste --watch")
	$(BIN)/python -m bnnrepro status $(ARGS)

retry: $(READY)  ## start again what failed or was cut short (ARGS as for status)
	$(BIN)/python -m bnnrepro retry $(ARGS)

cancel: $(READY)  ## stop what is queued or running (ARGS as for status)
	$(BIN)/python -m bnnrepro cancel $(ARGS)

##@ The paper's tables and figures

reproduce-table: $(READY)  ## from nothing to a table (TABLE=2 PRESET=paper|quick|smoke LAUNCHER=local|slurm SEEDS=5 YES=1 PLAN=1)
	$(PAPER) reproduce-table $(TABLE) $(STARTED) $(CHOSEN)

table: $(READY)  ## a table of what is there (TABLE=2 PRESET=quick)
	$(PAPER) table $(TABLE) $(CHOSEN)

reproduce-figure: $(READY)  ## from nothing to a figure (FIGURE=6, the rest as for tables)
	$(PAPER) reproduce-figure $(FIGURE) $(STARTED) $(CHOSEN)

figure: $(READY)  ## a figure of what is there (FIGURE=6 PRESET=quick)
	$(PAPER) figure $(FIGURE) $(CHOSEN)

##@ Checks, from the fastest to the slowest

lint: $(READY)  ## check style, format and which room may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)  ## check the types of src/
	$(BIN)/mypy

test: $(READY)  ## run the fast tests (ARGS="-k word")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m 'not slow' $(ARGS)

docs: $(READY)  ## build the documentation into site/, strictly, without the network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet $(ARGS)
	@echo "open site/index.html; with search: make docs-serve"

test-slow: $(READY)  ## run the slow tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m 'slow and not alone' $(ARGS) || [ $$? = 5 ]
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m 'slow and alone' $(ARGS) || [ $$? = 5 ]

test-slurm: $(READY)  ## run the tests on a SLURM cluster, which they start (root, Debian's packages)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slurm $(ARGS)

##@ Measurements

fidelity: $(READY)  ## MNIST's first two epochs beside the published runs' (ARGS="--root DIR")
	$(BIN)/python benchmarks/fidelity.py $(ARGS)

traps: $(READY)  ## what each difference of the published programs changes (ARGS="--root DIR")
	$(BIN)/python benchmarks/traps.py $(ARGS)

bench: $(READY)  ## measure speed, start and memory (ARGS="--rows steps,vgg")
	$(BIN)/python benchmarks/bench.py $(ARGS)

##@ Work on the code

format: $(READY)  ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs-serve: $(READY)  ## show the documentation in a browser while you write
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve $(ARGS)

wheel: $(READY)  ## build the sdist and the wheel into dist/
	$(BIN)/python -m hatchling build

clean:  ## remove .venv and all caches; runs and data stay
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
