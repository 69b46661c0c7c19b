# What a person runs, and what .ci/run runs. Every target does its own set-up.
PYTHON ?= python3
VENV := .venv
# The same tests' second ride: hip-python of ROCm 7, which names and loads things differently.
VENV_HIP7 := .venv-hip7
HIP7 := 7.2.2.562.43
# What depends on hip-python; the rest does not know its version.
HIP7_TESTS := tests/device tests/runtimes tests/sorting/test_kernels_exact.py tests/sorting/test_kernels_properties.py
# What decides without a device or a process of its own: its quick tests alone must reach it.
COVERED_TESTS := tests/audit tests/domain tests/measure tests/providers/test_facts.py tests/providers/test_registry.py \
  tests/replay tests/runtime tests/sweep tests/tables tests/verify
BIN := $(VENV)/bin

C_SOURCES = $(shell git ls-files 'hip_kernels/**.h' 'hip_kernels/**.hip' 'hip_kernels/**.c' 'hip_kernels/**.cpp' 'tests/**.c' 'tests/**.h' 'scripts/**.h')

.PHONY: demo test test-hip10 test-hip7 lint format frameworks aiter emulator packages hooks coverage mutants bench bench-gpu bench-rivals bench-isa resources clean help

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/.runtime: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,plot,ray,torch]'
	touch $@

$(VENV)/.frameworks: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[frameworks]'
	touch $@

$(VENV)/.aiter: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[aiter]'
	touch $@

$(VENV)/.mutants: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,mutants]'
	touch $@

$(VENV_HIP7)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV_HIP7)
	grep -v -E '^(hip-python|rocm-bindings)' constraints.txt > $(VENV_HIP7)/constraints.txt
	$(VENV_HIP7)/bin/python -m pip install --quiet -c $(VENV_HIP7)/constraints.txt -e '.[dev,plot,torch]' 'hip-python==$(HIP7)'
	touch $@

demo: $(VENV)/.runtime ## set up, sweep the best attached target, show the table, ask it three questions
	$(BIN)/moesort-tune doctor
	$(BIN)/moesort-tune sweep
	$(BIN)/python scripts/demo.py

# Both halves are run, one after the other, whether the first passes or not; a failure of either is one of the whole.
test: ## set up and run the tests, with hip-python 10 and 7
	$(MAKE) --no-print-directory --keep-going --jobs=1 test-hip10 test-hip7

test-hip10: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n auto --dist loadgroup

test-hip7: $(VENV_HIP7)/.dev
	$(VENV_HIP7)/bin/python -m pytest -q -n auto $(HIP7_TESTS)

lint: $(VENV)/.dev ## ruff, strict types, clang-format, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(C_SOURCES)
	$(BIN)/lint-imports

frameworks: $(VENV)/.frameworks ## fetch vLLM's and SGLang's Python files into build/frameworks, for tests on their own code
	$(BIN)/python scripts/fetch_frameworks.py

emulator: ## fetch tinygrad's emulator of AMD GPU instructions into build/tinygrad, for tests of the kernels' machine code
	scripts/fetch-tinygrad

aiter: ## fetch AITER's sources into build/aiter, and install what it imports, for tests on its own code
	scripts/fetch-aiter
	$(MAKE) --no-print-directory $(VENV)/.aiter

packages: $(VENV)/.dev ## build the wheel and the source package into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist

hooks: $(VENV)/.dev ## have git run ruff, clang-format and the layers of imports before each commit
	$(BIN)/python -m pip install --quiet -c constraints.txt pre-commit
	$(BIN)/pre-commit install

coverage: $(VENV)/.dev ## run the quick tests of the deciding rooms, and fail where they reach too few of its lines
	$(BIN)/python -m pytest -q -n auto $(COVERED_TESTS) --cov --cov-report=term-missing:skip-covered

format: $(VENV)/.dev ## format Python and C++
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_SOURCES)

mutants: $(VENV)/.mutants ## list the changes of the deciding rooms that no test notices (an hour; MUTANTS='moesort_tune.sweep.search*': a part)
	$(BIN)/mutmut run --max-children 2 $(MUTANTS)
	$(BIN)/mutmut results | sed '/not checked/d'

bench: $(VENV)/.dev ## print what loading a table, one decision, and one call of the operator cost the host
	$(BIN)/python scripts/bench.py
	$(BIN)/python scripts/bench_operator.py

bench-gpu: $(VENV)/.runtime ## print, on the attached GPU, floors and each kernel over the grid of shapes
	$(BIN)/python scripts/bench_gpu.py

bench-rivals: $(VENV)/.runtime ## print, on the attached NVIDIA GPU, the kernels beside vLLM's and SGLang's (MOESORT_RIVALS: a folder of checkouts)
	$(BIN)/python scripts/bench_rivals.py

bench-isa: $(VENV)/.dev ## print what the busiest wave executes, beside AITER's kernels (TINYGRAD_REPO: a checkout of tinygrad)
	$(BIN)/python -m tests.isa.bench

resources: $(VENV)/.runtime ## write docs/resources.md: registers, spills and LDS of the kernels on gfx90a, gfx942, gfx950
	$(BIN)/moesort-tune build --arch all --check --markdown > docs/resources.md.new
	mv docs/resources.md.new docs/resources.md

clean: ## remove the virtual environments, packages and mutants
	rm -rf $(VENV) $(VENV_HIP7) dist mutants
