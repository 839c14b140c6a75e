# `make help` lists what a developer needs. PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | while IFS='|' read -r name what; do printf '  make %-10s %s\n' "$$name" "$$what"; done

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

.PHONY: explain
explain: $(VENV)/installed ## set up, and explain someone of the sample town with the shipped model
	@$(BIN)/egretscore explain

.PHONY: test
test: $(VENV)/installed-dev ## set up, and run all tests
	@$(BIN)/python -m pytest

.PHONY: check
check: $(VENV)/installed-dev ## lint, check formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --config-file tests/mypy.ini

.PHONY: format
format: $(VENV)/installed-dev ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --quiet .

.PHONY: docs
docs: $(VENV)/installed-dev ## write the documentation that follows from the code
	@$(BIN)/python docs/build.py

$(VENV)/installed-bench: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@

.PHONY: bench
bench: $(VENV)/installed-bench ## measure on real data: make bench DATA=folder-of-the-data-sets OUT=new-folder
	@test -n "$(DATA)" -a -n "$(OUT)" || { echo "usage: make bench DATA=folder-of-the-data-sets OUT=new-folder" >&2; exit 2; }
	@mkdir -p "$(OUT)"
	@$(BIN)/python benchmarks/oulad.py --data "$(DATA)/oulad" --out "$(OUT)/oulad"
	@$(BIN)/python benchmarks/heloc.py --data "$(DATA)" --json "$(OUT)/heloc.json"
	@$(BIN)/python benchmarks/explain_speed.py --json "$(OUT)/explain_speed.json"
	@$(BIN)/python benchmarks/city.py --residents 43000 430000 4300000 --spark --json "$(OUT)/city.json"
	@$(BIN)/python benchmarks/days.py --residents 430000 4300000 --json "$(OUT)/days.json"
	@$(BIN)/python benchmarks/online.py --json "$(OUT)/online.json"
	@$(BIN)/python benchmarks/accuracy.py --data "$(DATA)" --json "$(OUT)/accuracy.json"

.PHONY: sample
sample: $(VENV)/installed ## invent the sample town again
	rm -rf data/sample
	$(BIN)/egretscore simulate --residents 2000 --out data/sample

.PHONY: model
model: $(VENV)/installed ## train the shipped model again, on a larger invented town
	rm -rf build/town
	$(BIN)/egretscore simulate --residents 60000 --seed 7 --format parquet --out build/town
	$(BIN)/egretscore train --records build/town --as-of 2024-09-01 --as-of 2025-10-01 --out models/invented-town

.PHONY: clean
clean: ## remove the environment and all that was built
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
