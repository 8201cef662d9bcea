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
INPUTS ?= 10000
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test lint types imports unit bench soak fuzz networks clean

help:
	@echo "make demo [MANIFEST=file.csv CODES=codes.csv] [KEEP=new-folder]"
	@echo "                                                four agencies, one ledger, a weapon traced and proved"
	@echo "make test                                       lint, types, import rules, all tests"
	@echo "make bench                                      measured figures as JSON lines"
	@echo "make soak [SECONDS=600 | SEEDS=n] [FROM=n] [JOBS=2]"
	@echo "                                                simulated clusters under faults and liars, seed after seed"
	@echo "make networks                                   real nodes on a network with faults: all scenarios, some 20 minutes"
	@echo "make fuzz INPUTS=n                              n hostile inputs for everything that takes bytes from outside"

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

unit: $(STAMP)
	$(BIN)/python -m pytest

bench: $(STAMP)
	$(BIN)/python -m benchmarks

soak: $(STAMP)
	$(BIN)/python -m tests.simulator.soak $(if $(SEEDS),--seeds $(SEEDS),--seconds $(SECONDS)) --first $(FROM) --jobs $(JOBS)

fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS)

networks: $(STAMP)
	$(BIN)/python -m tests.networks

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
