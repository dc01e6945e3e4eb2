# make summary: set everything up, run the study at the configured scale, build report/summary.pdf
# make test:    set everything up, run the tests
# make test-kernel: the tests of the GPU kernel on a machine without one, with Triton, 0.3 GB
# make evidence: train the runs that README's findings rest on, in order of worth; goes on after a stop (config/evidence.yaml)
# make bench, bench-select, bench-train, faults: measurements, and faults injected into real runs (minutes each)
.PHONY: summary test test-kernel evidence bench bench-select bench-train faults clean
SHELL := /bin/bash
PYTHON ?= python3
CORES ?= 4
ENV := .venv/.complete
# jobs of the workflow find the environment's python first; one thread each
RUN := PATH="$$PWD/.venv/bin:$$PATH" OMP_NUM_THREADS=1 MPLBACKEND=Agg
HAS_GPU := .venv/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'

summary: $(ENV)
	$(RUN) snakemake --cores $(CORES) report/summary.pdf
	@echo "report/summary.pdf is up to date"

test: $(ENV)
	$(RUN) python -m pytest tests

test-kernel: $(ENV)
	.venv/bin/python -c 'import triton' 2> /dev/null || .venv/bin/python -m pip install --disable-pip-version-check -q --no-deps -r tests/requirements-kernel.txt
	$(RUN) python -m pytest tests/selection/test_selection_cuda.py

evidence: $(ENV)
	$(RUN) python -m robustfl evidence

bench: $(ENV)
	$(RUN) python -m pytest tests -o addopts= --benchmark-only -m "not cuda"

bench-select: $(ENV)
	PATH="$$PWD/.venv/bin:$$PATH" python -m pip install -q -c constraints.txt -r benchmarks/requirements.txt
	$(RUN) python benchmarks/bench_select.py
	$(RUN) python benchmarks/bench_select_scale.py
	if $(HAS_GPU); then $(RUN) PYTHONPATH=. python benchmarks/bench_select_cuda.py; fi

bench-train: $(ENV)
	$(RUN) python benchmarks/bench_train.py
	if $(HAS_GPU); then $(RUN) PYTHONPATH=. python benchmarks/bench_steps.py; fi

faults: $(ENV)
	$(RUN) python tests/faults.py

$(ENV): constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; got " + sys.version)'
	rm -rf .venv
	$(PYTHON) -m venv .venv
	PATH="$$PWD/.venv/bin:$$PATH" python -m pip install --disable-pip-version-check -q --use-pep517 -r constraints.txt
	PATH="$$PWD/.venv/bin:$$PATH" python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	touch $(ENV)

clean:
	rm -rf .venv .snakemake build *.egg-info logs results/smoke report/summary.pdf
