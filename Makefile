# Everything sets itself up: `make demo` and `make test` need Python 3.11+, git and make.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.9
# uv reads its own settings, not pip's: hand over an index that only pip was told about.
export UV_DEFAULT_INDEX ?= $(shell $(PYTHON) -m pip config get global.index-url 2>/dev/null)
ifeq ($(UV_DEFAULT_INDEX),)
unexport UV_DEFAULT_INDEX
endif

.PHONY: help setup kernels demo review test check format e2e bench lock airflow image lab clean

help: ## what there is to make
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /: /' | column -t -s ':'

# The environment is built when its pins change, and only then: later calls are quick and offline.
setup: .venv/complete
.venv/complete: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Nightmill needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

kernels: setup ## build the environment of every kernel in kernels/
	@$(BIN)/nightmill kernels install

demo: kernels ## train a model, then one night of flight_delays
	$(BIN)/nightmill run flight_model --partition 2013-02-25
	$(BIN)/nightmill run flight_delays --partition 2013-03-01

review: setup ## the review pages of what ran here, on loopback
	$(BIN)/nightmill review --open

test: kernels ## the tests, but for those of make e2e
	$(BIN)/python -m pytest -m "not e2e"

e2e: kernels ## the tests with real servers, a cluster and a browser
	$(BIN)/python -m pytest -m e2e

check: setup ## format, lint, types, import contracts, spelling, notebooks without outputs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell
	$(BIN)/nbstripout --keep-id --verify $$(git ls-files '*.ipynb')

format: setup ## put code into its form and take outputs out of notebooks
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/nbstripout --keep-id $$(git ls-files '*.ipynb')

bench: kernels ## what a step costs beside plain papermill, in ratios
	$(BIN)/python benchmarks/step.py

lock: setup ## compile constraints.txt anew (needs a package index)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --all-extras pyproject.toml -o constraints.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra runner \
	  --constraints constraints.txt --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  pyproject.toml -o image/requirements.txt

# Only our kernels: the environment of JupyterLab itself is no place to explore in.
KERNELS := $(notdir $(patsubst %/,%,$(dir $(wildcard kernels/*/requirements.txt))))
airflow: kernels ## a whole Airflow on this machine (loopback only) with every pipeline as a DAG
	@$(BIN)/python -m nightmill.airflow.standalone

IMAGE ?= nightmill:dev
image: ## the image of all steps (needs docker; elsewhere see image/Dockerfile)
	docker build --file image/Dockerfile --tag $(IMAGE) \
	  --build-arg GIT_COMMIT=$$(git describe --always --abbrev=40 --dirty --exclude='*') .

lab: kernels ## JupyterLab with every kernel in its launcher
	$(BIN)/jupyter lab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root) \
	  $(foreach kernel,$(KERNELS),--KernelSpecManager.allowed_kernelspecs=$(kernel))

clean: ## remove environments, kernels and the local store
	rm -rf .venv .nightmill
