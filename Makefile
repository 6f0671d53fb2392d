# Everything is done from here. Targets set up .venv themselves, with uv where it is installed and venv + pip otherwise.
# PYTHON=python3 uses that interpreter and its packages instead; no .venv is made or touched. ARGS=... is passed on.
# `python -P` and the pytest command keep this folder off sys.path, where `import autograd` would find a part of the library.

ifdef PYTHON
python := $(PYTHON)
pytest := $(PYTHON) -P -m pytest
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
else
bin := .venv/bin/
python := $(bin)python
pytest := $(bin)pytest
ready := .venv/.ready
endif

has_uv := $(shell command -v uv 2>/dev/null)
new_venv := $(if $(has_uv),uv venv --quiet --allow-existing --python '>=3.11' .venv,python3 -m venv .venv)
install := $(if $(has_uv),uv pip install --quiet --python .venv/bin/python,.venv/bin/python -m pip install --quiet --no-compile)

.PHONY: help setup demo test test-all test-fake conformance lint cov bench notebooks test-notebooks images docs gpu-check build clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

.venv/.ready: pyproject.toml
	@echo "setting up .venv (once; a minute or so)"; $(new_venv) && $(install) --editable '.[dev]' && touch $@

.venv/.docs: .venv/.ready
	@$(install) --editable '.[docs]' && touch $@

setup: $(ready)  ## make .venv with everything for development

demo: $(ready)  ## train a digit classifier, draw its graph and its loss
	$(python) examples/train_digits.py $(ARGS)

test: $(ready)  ## the tests, on NumPy and on the stand-in for a GPU
	$(pytest) -n auto $(ARGS)

# What only the slow tests need: the peers that read what is written here.
.venv/.all: .venv/.ready
	@$(install) --editable '.[onnx,log,cuda-check]' && touch $@

test-all: $(ready) $(if $(PYTHON),,.venv/.all)  ## the slow tests too
	$(pytest) -n auto -m "" $(ARGS)
	@$(MAKE) --no-print-directory test-fake ARGS="$(ARGS)"

test-fake: $(ready)  ## the tests that name no device, on the stand-in for a GPU
	CHAINRULE_TEST_DEFAULT_DEVICE=fake $(pytest) -n auto $(ARGS)

# PyTorch is a second opinion for developers, in an environment of its own; TORCH names the build to install.
TORCH ?= torch==2.13.0
.venv-conformance/.ready: pyproject.toml
	@echo "setting up .venv-conformance with $(TORCH) (once)"; python3 -m venv .venv-conformance
	@.venv-conformance/bin/python -m pip install --quiet $(TORCH) expecttest --editable '.[io,special]' && touch $@

conformance: .venv-conformance/.ready  ## every operation against PyTorch's own operator database
	.venv-conformance/bin/python -P scripts/conformance --jobs 2 $(ARGS)

lint: $(ready)  ## ruff (rules and format) and mypy
	$(bin)ruff check . && $(bin)ruff format --check .
	$(python) scripts/type_links.py && $(bin)mypy

cov: $(ready)  ## which lines the tests run; details in htmlcov/
	$(pytest) -n auto --cov --cov-report=term --cov-report=html $(ARGS)

bench: $(ready)  ## the benchmarks, one after the other
	@set -e; for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(python) $$file $(ARGS); done
	@echo "benchmarks/gpu needs a CUDA card and is run by make gpu-check"

notebooks: $(ready)  ## run the notebooks and keep their outputs
	$(python) scripts/run_notebooks.py notebooks/*.ipynb

test-notebooks: $(ready)  ## run copies of the notebooks; fails at a cell that raises
	$(pytest) --nbmake -n auto notebooks/*.ipynb $(ARGS)

images: $(ready)  ## draw the pictures of the manual anew, in docs/images/
	$(python) -P docs/make_images.py && $(python) -P docs/make_training_images.py

docs: .venv/.docs  ## the manual, in docs/_build/
	.venv/bin/sphinx-build -W --keep-going -q docs docs/_build && echo "open docs/_build/index.html"

# It makes no environment and needs no network: .venv is used if it is there, else the python3 that is.
gpu-check:  ## check and time everything on a CUDA card, in ten minutes; says why not where there is none
	$(or $(PYTHON),$(wildcard .venv/bin/python),python3) -P scripts/gpu_check.py $(ARGS)

build: $(ready)  ## sdist and wheel in dist/, tried in a clean environment
	$(bin)pyproject-build && $(pytest) -m slow tests/test_packaging.py

clean:  ## remove what the other targets made, except .venv
	rm -rf build dist docs/_build htmlcov .coverage *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
