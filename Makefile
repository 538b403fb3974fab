# Everything starts here; `make help` lists it. Each target sets up what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
BENCH  := $(BIN)/ddpm-bench
STUDY  ?= quick
DEVICE ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup ablate report check change nightly history docs mutants \
  test test-browser test-peers test-ray test-slurm test-wheel lint types \
  perf perf-long perf-compare peers gpu chaos fuzz \
  gpu-wheels baseline ci clean

help: ## this list
	@echo "make TARGET [STUDY=name-or-file] [DEVICE=auto|cpu|cuda|mps]"
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  \1\t/' | expand -t 16

setup: $(VENV)/.ready ## make .venv and install the pinned dependencies

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# of this package only one file is wanted, and not the dozen packages that the others would bring
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps rectified-flow-pytorch
	@touch $@

ablate: $(VENV)/.ready ## run a study (default quick) and write its report; interrupt and repeat at will
	$(BENCH) run $(STUDY) --device $(DEVICE) --report

report: $(VENV)/.ready ## write the report of whatever results there are (or of STUDY=)
	$(BENCH) report $(if $(filter-out undefined default file,$(origin STUDY)),$(STUDY))

check: $(VENV)/.ready ## the gate of every change: every part of the code against its baseline, in about a minute
	$(BENCH) check $(if $(filter-out auto,$(DEVICE)),--device $(DEVICE)) $(if $(ENGINE),--engine $(ENGINE))

change: $(VENV)/.ready ## what CI asks of a change: both gates, the nightly one on one seed; fails only where it is sure
	@# 4, cannot tell, is no reason to stop a change: one seed cannot tell in a fifth of changes that change nothing
	$(BENCH) check || [ $$? -eq 4 ]
	$(BENCH) check nightly --device $(DEVICE) --seeds 1 || [ $$? -eq 4 ]

nightly: $(VENV)/.ready ## the nightly gate: train the smoke study on fresh seeds, 3 to 12 or SEEDS=; fails when FID slips
	$(BENCH) check nightly --device $(DEVICE) $(if $(SEEDS),--seeds $(SEEDS))

history: $(VENV)/.ready ## add the results of smoke to history/smoke.jsonl, and draw quality and speed over commits
	$(BENCH) history smoke --append --file history/smoke.jsonl --html history/smoke.html

mutants: $(VENV)/.ready ## change the code in a thousand small ways and see that a test fails (long); MODULES='ddpm/ema.py …'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutants]'
	$(BIN)/python -m perf.mutants $(MODULES)

test: $(VENV)/.ready ## the tests, a process a core (eight at most)
	@# one thread each: more would wait for each other, busily; with bytecode, or hundreds of processes compile it all anew
	env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal

test-browser: $(VENV)/.ready ## the HTML report in a real browser; needs apt-get install chromium chromium-driver
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[browser]'
	@# of this package only the file axe.min.js is wanted, and not the browsers that it would bring
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps axe-playwright-python
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s -m browser tests/bench

test-peers: $(VENV)/.ready ## the comparison with other libraries, beside these libraries
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[peers]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/perf/test_peers.py tests/perf/test_scoring.py tests/perf/test_parity.py

test-ray: $(VENV)/.ready ## what every executor must do, on a real Ray of two nodes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray tests/bench

test-slurm: $(VENV)/.ready ## the same on a real Slurm of two nodes; needs apt-get install slurm-wlm munge
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[slurm]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slurm tests/bench

lint: $(VENV)/.ready ## ruff, as linter and formatter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test-wheel: $(VENV)/.ready ## the wheel by itself: an empty environment, an empty folder, no network
	$(BIN)/python -m pytest -m wheel tests/library

types: $(VENV)/.ready ## mypy, strict
	$(BIN)/mypy

docs: $(VENV)/.ready ## the documentation as a site, in site/; fails where a link leads nowhere
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python -m bench.site build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html"

perf: $(VENV)/.ready ## the machine's speed, the networks' share of it, and timings; writes reports/perf
	$(BIN)/python -m perf.roofline --device $(DEVICE)
	$(BIN)/python -m perf.scorenet --device $(DEVICE)
	$(BIN)/python -m perf.nets --device $(DEVICE)
	$(BIN)/python -m perf.harness
	$(BIN)/python -m pytest perf --benchmark-only
	$(BIN)/python -m perf.page

perf-long: $(VENV)/.ready ## perf's long runs: quality of the best recipe (three seeds), 100,000 cells, a million images
	$(BIN)/python -m perf.quality --device $(DEVICE)
	$(BIN)/python -m perf.recipe
	$(BIN)/python -m perf.scale
	$(BIN)/python -m perf.streaming
	$(BIN)/python -m perf.page

perf-compare: $(VENV)/.ready ## the gate of speed: HEAD against BASE= (default origin/main, or the last commit) in one job
	@# 4, cannot tell, is no reason to stop a change
	$(BIN)/python -m perf.compare $(BASE) || [ $$? -eq 4 ]

peers: test-peers ## the harness against other libraries (long; interrupt and repeat at will); writes reports/perf
	$(BIN)/python -m perf.peers
	$(BIN)/python -m perf.scoring
	$(BIN)/python -m perf.page

gpu: $(VENV)/.ready ## everything worth knowing of a CUDA card, in eight minutes (docs/gpu.md); writes reports/perf
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[peers]'
	$(BIN)/python -m perf.gpu $(if $(filter-out auto,$(DEVICE)),--device $(DEVICE)) $(if $(MINUTES),--minutes $(MINUTES))
	$(BIN)/python -m perf.page

gpu-wheels: ## download into wheels/ what a bare machine with a GPU lacks (docs/gpu.md)
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp \
	  --python-version 312 --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 \
	  --dest wheels --requirement perf/gpu-wheels.txt

chaos: $(VENV)/.ready ## everything that may happen to a run, on one machine, Ray and Slurm (long; KILLS=; docs/scaling.md)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray,slurm]'
	$(BIN)/python -m perf.chaos --kills $(or $(KILLS),100)

fuzz: $(VENV)/.ready ## 10,000 mutated inputs for every reader: a line for the user, or success (long; INPUTS=)
	$(BIN)/python -m perf.fuzz --inputs $(or $(INPUTS),10000)

baseline: $(VENV)/.ready ## make both gates' baselines anew; WHY='what changed, and why that is meant'
	$(BENCH) check change --update-baseline --why '$(WHY)'
	$(BENCH) check nightly --update-baseline --why '$(WHY)' --device $(DEVICE)

ci: ## what CI runs
	.ci/run

clean: ## remove .venv and caches; results stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks *.egg-info
