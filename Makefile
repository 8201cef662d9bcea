# Two commands for a fresh machine with Python 3.11+: `make demo` and `make test`. Each makes the environment it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MANIFEST ?=
CODES ?=
KEEP ?=
SECONDS ?= 600
SEEDS ?=
FROM ?= 0
JOBS ?= 1
WORKERS ?= 2
INPUTS ?= 10000
SEED ?= 0
STATE ?=
TARGET ?=
LASTING ?= 60
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test lint types imports unit bench soak fuzz faults epochs networks clean

help:
	@echo "make demo [MANIFEST=file.csv CODES=codes.csv] [KEEP=new-folder]"
	@echo "                                                four agencies, one ledger, a weapon traced and proved"
	@echo "make test                                       lint, types, import rules, all tests"
	@echo "make bench                                      measured figures as JSON lines"
	@echo "make soak [SECONDS=600 | SEEDS=n] [FROM=n] [JOBS=2]"
	@echo "                                                simulated clusters under faults and liars, seed after seed"
	@echo "make networks                                   real nodes on a network with faults: all scenarios, some 20 minutes"
	@echo "make epochs                                     real nodes: 4, 5, 7 and again 4 validators, new keys, a replacement, under load"
	@echo "make faults                                     every write failed, crashed and torn; a bit flipped everywhere"
	@echo "make fuzz INPUTS=n [STATE=file] [TARGET=name]   n hostile inputs for everything that takes bytes from outside"
	@echo "make fuzz-guided INPUTS=n [TARGET=name]         the same, led by what inputs reach (installs atheris)"
	@echo "make overload LASTING=60                        ten times what four nodes can take, and a hostile validator"

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/tracemark demo $(if $(MANIFEST),--manifest "$(MANIFEST)") $(if $(CODES),--codes "$(CODES)") $(if $(KEEP),--keep "$(KEEP)")

test: lint types imports unit

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

# Real processes measure nothing but take their time: they have the machine to themselves.
PROCESSES := tests/processes tests/networks tests/overload

unit: $(STAMP)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(addprefix --ignore=,$(PROCESSES))
	$(BIN)/python -m pytest $(PROCESSES)

bench: $(STAMP)
	$(BIN)/python -m benchmarks

soak: $(STAMP)
	$(BIN)/python -m tests.simulator.soak $(if $(SEEDS),--seeds $(SEEDS),--seconds $(SECONDS)) --first $(FROM) --jobs $(JOBS)

fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS) --seed $(SEED) $(if $(STATE),--state $(STATE)) $(foreach target,$(TARGET),--target $(target))

fuzz-guided: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[dev,fuzz]'
	for target in $(or $(TARGET),$$($(BIN)/python -m tests.fuzz --list-guided)); do \
	  $(BIN)/python -m tests.fuzz.guided --target $$target --inputs $(INPUTS) || exit 1; done

overload: $(STAMP)
	$(BIN)/python -m tests.overload --seconds $(LASTING)

epochs: $(STAMP)
	$(BIN)/python -m tests.processes.changing

faults: $(STAMP)
	FAULTS=full $(BIN)/python -m pytest tests/node/faults tests/node/integrity tests/node/test_mistakes_of_others.py

networks: $(STAMP)
	$(BIN)/python -m tests.networks

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
