# `make` alone prints what the targets do: the words after their ##.
.DEFAULT_GOAL := help
.PHONY: help summary test coverage lint test-kernel test-page evidence
.PHONY: bench bench-select bench-train bench-worker faults clean
SHELL := /bin/bash
PYTHON ?= python3
CORES ?= 4
ENV := .venv/.complete
# jobs of the workflow find the environment's python first; one thread each
RUN := PATH="$$PWD/.venv/bin:$$PATH" OMP_NUM_THREADS=1 MPLBACKEND=Agg
PIP := PATH="$$PWD/.venv/bin:$$PATH" python -m pip install --disable-pip-version-check -q
LINTED := robustfl tests benchmarks scripts
HAS_GPU := .venv/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

summary: $(ENV) ## set everything up, run the study at the configured scale, build the PDF
	$(RUN) snakemake --cores $(CORES) report/summary.pdf
	@echo "report/summary.pdf is up to date"

test: $(ENV) ## set everything up, run the tests
	$(RUN) python -m pytest tests -n logical --dist loadfile --no-loadscope-reorder

coverage: $(ENV) ## which lines the fast tests run (a minute)
	$(RUN) python -m pytest tests -n logical -m fast --cov=robustfl --cov-report=term:skip-covered

lint: $(ENV) ## check style, format and types: ruff and mypy
	$(RUN) ruff check $(LINTED)
	$(RUN) ruff format --check $(LINTED)
	$(RUN) mypy

test-kernel: $(ENV) ## the tests of the GPU kernel on a machine without one, with Triton, 0.3 GB
	.venv/bin/python -c 'import triton' 2> /dev/null \
		|| $(PIP) --no-deps -r tests/requirements-kernel.txt
	$(RUN) python -m pytest tests/selection/test_selection_cuda.py

test-page: $(ENV) ## the tests of the page of a study, in the Chromium of this machine
	.venv/bin/python -c 'import playwright' 2> /dev/null \
		|| $(PIP) -c constraints.txt -r tests/requirements-browser.txt
	$(RUN) python -m pytest tests/evidence/test_page_browser.py

evidence: $(ENV) ## train the runs that README's findings rest on; goes on after a stop
	$(RUN) python -m robustfl evidence

bench: $(ENV) ## measure the parts, with pytest-benchmark (minutes)
	$(RUN) python -m pytest tests -o addopts= --benchmark-only -m "not cuda"

bench-select: $(ENV) ## measure selection beside other libraries (minutes)
	$(PIP) -c constraints.txt -r benchmarks/requirements.txt
	$(RUN) python benchmarks/bench_select.py
	$(RUN) python benchmarks/bench_select_scale.py
	if $(HAS_GPU); then $(RUN) PYTHONPATH=. python benchmarks/bench_select_cuda.py; fi

bench-train: $(ENV) ## measure an epoch of training beside a plain loop (minutes)
	$(RUN) python benchmarks/bench_train.py
	if $(HAS_GPU); then $(RUN) PYTHONPATH=. python benchmarks/bench_steps.py; fi

bench-worker: $(ENV) ## measure what the warm worker saves a smoke study and a laptop run (minutes)
	$(RUN) python benchmarks/bench_worker.py

faults: $(ENV) ## inject 1,000 faults into real runs; goes on after a stop (up to an hour)
	PYTHONPATH=tests $(RUN) python -m faults

$(ENV): constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) \
		and "Python 3.11 or newer is needed; got " + sys.version)'
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(PIP) --use-pep517 -r constraints.txt
	$(PIP) --no-deps --no-build-isolation -e .
	touch $(ENV)

clean: ## remove the environment, logs, smoke results and the report
	rm -rf .venv .snakemake build *.egg-info logs results/smoke report/summary.pdf
