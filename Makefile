# SPDX-License-Identifier: Apache-2.0
# The commands of this repository. `make demo` and `make test` need Python 3.11 and a C++ compiler; all
# else is installed into .venv from the package index. Stamp files keep a second run fast.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

JOBS ?= 2
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
# ninja is found by cmake, and cmake by scikit-build-core, through PATH.
export PATH := $(BIN):$(PATH)
# Packages are installed without byte code, which is a minute; Python keeps it for what it imports.
unexport PYTHONDONTWRITEBYTECODE

NATIVE_TOOLS := $(VENV)/.native-tools-installed
ENVIRONMENT := $(VENV)/.environment-installed
EXTENSION := $(VENV)/.extension-installed
native_sources := $(shell find native -name '*.cpp' -o -name '*.hpp' -o -name '*.h' -o -name 'CMake*')
extension_sources := $(filter-out native/tests/% native/fuzz/% native/bench/%,$(native_sources))

.PHONY: help
help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{ printf "make %-18s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(EXTENSION) ## train with and without compression, show and save what it cost
	@$(BIN)/fl-deepcabac simulate --task digits --clients 10 --rounds 15 --alpha 0.5 --out runs/demo

# The suite is the last thing to run, so that its summary is the last line. The C++ side needs none of
# the Python packages: it is compiled and checked while these are installed.
.PHONY: test
test: $(NATIVE_TOOLS) ## lint, C++ tests under sanitizers, then the Python suite
	@$(MAKE) --jobs=$(JOBS) --output-sync=target $(EXTENSION) native-test lint-native lint collect
	@$(BIN)/pytest -n $(JOBS) --dist worksteal

# Byte code of all that tests import is made here once, where a core is idle, and not by each worker.
.PHONY: collect
collect: $(EXTENSION)
	@$(BIN)/pytest --collect-only -qq >/dev/null

.PHONY: test-slow
test-slow: $(EXTENSION) ## the Python tests that take minutes
	@$(BIN)/pytest -m slow

.PHONY: test-deployment
test-deployment: $(EXTENSION) ## a SuperLink and two SuperNodes with TLS and keys, killed in turn; three minutes
	@$(BIN)/pytest -m deployment -raP tests/deployment

# -s: an inner pytest says how far it is.
.PHONY: test-wheel
test-wheel: $(ENVIRONMENT) ## sdist and wheel, each installed into an empty environment, and the suite there; a quarter of an hour
	@JOBS=$(JOBS) $(BIN)/pytest -m wheel -s -v tests/archives

# ---------------------------------------------------------------------------------- setting up

# All that the package, its extras and its build need, in one resolution; or what C++ needs of it.
define list_requirements
import re, sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
lines = [*project["dependencies"], *extras["experiments"], *extras["dev"]]
wanted = sys.argv[1:]
print(*[line for line in lines if not wanted or re.match("[a-z-]+", line)[0] in wanted], sep="\n")
endef
export list_requirements

# Says what is missing before anything is installed.
.PHONY: compiler
compiler:
	@command -v "$${CXX:-c++}" >/dev/null || command -v g++ clang++ >/dev/null || { \
	    echo "expected a C++20 compiler (g++ 12 or clang++ 14, or newer), found none on PATH" >&2; exit 2; }

PIP_INSTALL = $(BIN)/pip install --quiet --no-compile --constraint constraints.txt --requirement /dev/stdin

$(NATIVE_TOOLS): pyproject.toml constraints.txt | compiler
	@if [ ! -x $(BIN)/python ]; then \
	    for python in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	        if "$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	        then found=$$python; break; fi; \
	    done; \
	    if [ -z "$${found-}" ]; then \
	        echo "expected Python 3.11 or newer with the venv module, found $$(python3 --version 2>&1);" \
	            "name another with make PYTHON=/path/to/python" >&2; exit 2; \
	    fi; \
	    "$$found" -m venv $(VENV); \
	fi
	@grep '^pip==' constraints.txt | $(PIP_INSTALL)
	@echo "installing into .venv; the first time takes some minutes"
	@$(BIN)/python -c "$$list_requirements" clang-format clang-tidy cmake ninja | $(PIP_INSTALL)
	@touch $@

$(ENVIRONMENT): $(NATIVE_TOOLS)
	@$(BIN)/python -c "$$list_requirements" | $(PIP_INSTALL)
	@touch $@

# The package itself, in place: Python files are used where they stand, the extension is compiled.
$(EXTENSION): $(ENVIRONMENT) $(extension_sources)
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# ------------------------------------------------------------------------------------- checks

.PHONY: lint
lint: lint-python lint-types lint-native lint-text ## every static check

.PHONY: lint-python
lint-python: $(ENVIRONMENT)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

# The one thing a stub cannot say: classes of an extension have pybind11's own metaclass.
.PHONY: lint-types
lint-types: $(EXTENSION)
	@$(BIN)/mypy
	@$(BIN)/python -m mypy.stubtest --allowlist <(echo fl_deepcabac._native.StreamState) fl_deepcabac._native

# All sources as one: their headers are read and analysed once, which is half of the time. Where that
# finds anything, each by itself says where.
.PHONY: lint-native
lint-native: $(NATIVE_TOOLS)
	@cd native && $(BIN)/cmake --preset tidy >/dev/null
	@$(BIN)/clang-format --dry-run -Werror $(filter %.cpp %.hpp %.h,$(native_sources))
	@cat native/src/*.cpp > build/tidy/core.cpp
	@$(TIDY) --checks=-readability-duplicate-include build/tidy/core.cpp >/dev/null 2>&1 || \
	    printf '%s\n' native/src/*.cpp | xargs -n 1 -P $(JOBS) $(TIDY)

TIDY = $(BIN)/clang-tidy --quiet -p build/tidy --config-file=.clang-tidy

.PHONY: lint-text
lint-text: $(ENVIRONMENT)
	@$(BIN)/codespell

.PHONY: native-test
native-test: $(NATIVE_TOOLS) ## the C++ tests and fuzz corpora under address and undefined-behaviour sanitizers
	@cd native && $(BIN)/cmake --preset asan >/dev/null
	@cd native && $(BIN)/cmake --build --preset asan -j $(JOBS)
	@cd native && $(BIN)/ctest --preset asan -j $(JOBS)

# --------------------------------------------------------------------- slower checks of the core

# Of each target.
SECONDS ?= 60

.PHONY: fuzz
fuzz: $(EXTENSION) ## fuzz the core and the Python side, SECONDS=60 a target; clang with libFuzzer, atheris if it is there
	@command -v clang++ >/dev/null || { echo "expected clang++ on PATH, found none: nothing fuzzed" >&2; exit 2; }
	@cd native && $(BIN)/cmake --preset fuzz >/dev/null
	@cd native && $(BIN)/cmake --build --preset fuzz -j $(JOBS) >/dev/null
	@native/fuzz/run.sh build/fuzz $(SECONDS)
	@for name in packet saved_state container checkpoint replies downlink; do \
	    PYTHONPATH=tests $(BIN)/python -m fuzz $$name --seconds $(SECONDS) || exit 1; \
	done

.PHONY: native-test-threads
native-test-threads: $(NATIVE_TOOLS) ## the C++ tests that use threads, under the thread sanitizer
	@cd native && $(BIN)/cmake --preset tsan >/dev/null
	@cd native && $(BIN)/cmake --build --preset tsan -j $(JOBS) --target $(THREAD_TESTS)
	@cd native && $(BIN)/ctest --preset tsan -R '^($(subst $(space),|,$(THREAD_TESTS)))$$'

THREAD_TESTS := test_parallel test_watch test_level_codec_chunks test_stream_state
space := $(subst ,, )

GOLDEN_VECTORS := build/conformance/golden

.PHONY: conformance
conformance: $(EXTENSION) ## the same bytes with GCC and Clang, -O0 and -O3, -ffast-math, AVX2, 1 to 8 threads
	@PYTHONPATH=tests $(BIN)/python -m golden.export_vectors $(GOLDEN_VECTORS)
	@native/conformance/run.sh build/conformance $(GOLDEN_VECTORS)

.PHONY: conformance-cross
conformance-cross: $(EXTENSION) ## the same on 64-bit ARM and big-endian s390x under qemu; needs their cross compilers
	@PYTHONPATH=tests $(BIN)/python -m golden.export_vectors $(GOLDEN_VECTORS)
	@native/conformance/run.sh build/conformance $(GOLDEN_VECTORS) cross

# --------------------------------------------------------------------------------- benchmarks

# Recorded streams; where the folder holds none, a stream is made up.
STREAMS ?= ../shared/streams

.PHONY: bench
bench: $(EXTENSION) ## rate, error and speed on recorded streams, beside NNCodec, zlib and zstd; STREAMS=folder
	@$(BIN)/python benchmarks/streams.py $(STREAMS)

.PHONY: bench-more
bench-more: $(EXTENSION) ## other compressors on the same levels, the worth of a kept state, sparse updates
	@$(BIN)/python benchmarks/lossless.py $(STREAMS)
	@$(BIN)/python benchmarks/persistence.py $(STREAMS)
	@$(BIN)/python benchmarks/sparse.py

.PHONY: bench-baselines
bench-baselines: $(EXTENSION) ## bits and error of other methods beside ours; STREAMS=folder; NNCODEC_PYTHON=... adds NNCodec
	@$(BIN)/python benchmarks/baselines.py $(STREAMS)

.PHONY: bench-allocation
bench-allocation: $(EXTENSION) ## accuracy at equal bytes of the rules that share out steps; Fashion-MNIST, over an hour
	@$(BIN)/python benchmarks/allocation.py

.PHONY: bench-weights
bench-weights: $(EXTENSION) ## trained weights of many shapes beside other coders; fetches 120 MB; NNCODEC_PYTHON=... adds NNCodec
	@$(BIN)/python benchmarks/real_weights.py

.PHONY: bench-memory
bench-memory: $(EXTENSION) ## peak memory of a server with 200 nodes of 5 M weights, states kept, dropped and spilled; minutes
	@$(BIN)/python benchmarks/server_memory.py

.PHONY: results
results: $(EXTENSION) ## the tables and figures of docs/results.md anew, of the rounds beside it
	@$(BIN)/python benchmarks/published_results.py

.PHONY: tables
tables: $(EXTENSION) ## the tables of docs/model_compression.md; hours; NNCODEC_PYTHON=... adds NNCodec
	@$(BIN)/python benchmarks/model_tables.py

.PHONY: bench-sizes
bench-sizes: $(EXTENSION) ## rewrite the ledger of packet sizes, which a test compares
	@$(BIN)/python benchmarks/size_ledger.py

.PHONY: bench-instructions
bench-instructions: $(ENVIRONMENT) ## compare instructions a weight with their ledger; WRITE=1 rewrites it
	@command -v valgrind >/dev/null || { echo "expected valgrind on PATH, found none: nothing counted" >&2; exit 2; }
	@cd native && $(BIN)/cmake --preset bench >/dev/null
	@cd native && $(BIN)/cmake --build --preset bench -j $(JOBS) >/dev/null
	@$(BIN)/python benchmarks/instruction_ledger.py build/bench/bench_level_codec $(if $(WRITE),--write)

# ------------------------------------------------------------------------------------- habits

.PHONY: format
format: $(ENVIRONMENT) ## put Python and C++ into the house's form
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .
	@$(BIN)/clang-format -i $(filter %.cpp %.hpp %.h,$(native_sources))

.PHONY: clean
clean: ## remove what was built, keep .venv and runs
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
