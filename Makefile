# Two commands set everything up on a machine that has Python 3.11 to 3.13 and make:
#   make dashboard    make test

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.medwb-ready
UV     := uv==0.13.9

.DEFAULT_GOAL := help
.PHONY: help env dashboard notebooks demo test quick check format lock clean

help:            ## list these targets
	@grep -E '^[a-z]+: .*##|^[a-z]+:  *##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## */  make \1\t/' | expand -t 20

env: $(READY)    ## make the environment: a venv, and in it every package of requirements.lock

$(READY): requirements.lock pyproject.toml
	@echo "medwb: making $(VENV) (about 3.7 GB; a minute or two, most of it TensorFlow)"
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "medwb: $(PYTHON) is not Python 3.11 to 3.13; name one: make env PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(UV)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: env        ## write the demo dataset, if there is none
	$(BIN)/medwb demo

dashboard: demo  ## open the dashboard at http://localhost:8501
	$(BIN)/medwb dashboard

notebooks: demo  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

check: env       ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check      ## all tests (about 25 minutes on two cores)
	$(BIN)/pytest -m "not slow" -n auto
	$(BIN)/pytest -m slow

quick: env       ## the tests that take under a minute
	$(BIN)/pytest -m "not slow" -n auto

format: env      ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: env        ## pin every package again, after a change of pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-annotate --no-header --quiet --upgrade -o requirements.lock

clean:           ## remove the environment and all caches; data/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
