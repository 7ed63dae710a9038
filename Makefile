# Everything runs in .venv, made from requirements-dev.lock. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
COMPILE := $(BIN)/uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-header --no-annotate
export AIRFLOW_HOME ?= $(CURDIR)/.demo/airflow

.PHONY: help env demo airflow test check bench gallery lock clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1: /p' Makefile | column -t -s:

env: $(VENV)/.locked ## create the environment from the lock file

$(VENV)/.locked: requirements-dev.lock pyproject.toml
	@sh demo/environment.sh $(PYTHON) $(VENV) $(UV_VERSION)
	@touch $@

demo: env ## a complete night on sample data, through Airflow, in a few minutes
	@$(BIN)/python -m demo.run

airflow: env ## keep Airflow up with the demo's DAGs until Ctrl-C
	@$(BIN)/python -m demo.airflow_local

test: env ## all tests
	@sh tests/system_packages.sh
	@$(BIN)/python -m pytest

check: env ## style and definitions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/abtest validate

bench: env ## print the tables of benchmarks/, or that of one NAME=readouts_50k
	@$(BIN)/python benchmarks/run.py $(NAME)

gallery: env ## take the pictures of docs/reports anew
	@$(BIN)/python -m tests.browser.gallery

lock: env ## resolve the dependencies of pyproject.toml anew
	$(COMPILE) --upgrade -o requirements.lock
	$(COMPILE) -c requirements.lock --extra dev -o requirements-dev.lock
	$(COMPILE) -c requirements.lock --extra server -o requirements-server.lock

clean: ## remove the environment and the demo's state
	rm -rf $(VENV) .demo tests/browser/node_modules
