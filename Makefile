# `make` alone lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
INSTRUCTION ?= go to the red chair
SEED ?= 3
PIP_ARGS ?=
PAGE ?=
ALL ?=
FUZZ_SEED ?= 0
FUZZ_SECONDS ?= 300

VENV := $(CURDIR)/.venv
READY := $(VENV)/.vila_nav_ready
PIP := $(VENV)/bin/python -m pip install --constraint requirements/constraints.txt $(PIP_ARGS)
SETUP_INPUTS := setup.py pyproject.toml CMakeLists.txt package.xml $(wildcard requirements/*.txt msg/* srv/* action/*)

# The virtual environment is an ament prefix: messages, parameters and node executables lie in it.
export AMENT_PREFIX_PATH := $(VENV)
export CMAKE_PREFIX_PATH := $(VENV)
# A sourced ROS of the system's must not mix with it.
unexport PYTHONPATH LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
# Else each of the hundreds of processes that the tests start would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup platform system demo demo-events drill test test-quick test-avx2 fuzz lint style types colcon sanitize neon clip clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: setup  ## drive to INSTRUCTION="go to the red chair" in the flat of SEED=3, results in out/; PAGE=1: by browser too
	@$(VENV)/bin/vila demo --instruction "$(INSTRUCTION)" --seed $(SEED) $(if $(PAGE),--page --record)

demo-events: setup  ## a patrol on which things happen, in the flat of SEED=3: out/events.mp4 and the score
	@$(VENV)/bin/vila demo-events --seed $(SEED)

drill: setup  ## the short form of the fault drill, on the robot in the flat: a minute; `vila inject` is the whole
	@$(VENV)/bin/vila inject --quick --simulator --out out/drill

# Each file of tests in one process: a file's fixtures are made once. Two more than cores: nodes wait for each other.
WORKERS := $(shell n=$$(nproc); echo $$((n < 4 ? n + 2 : 6)))
PYTEST := $(VENV)/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# What computes: it must give the same on a processor with AVX2 and nothing above. The kernels' own tests run every set.
AVX2_TESTS := vila_core/test_{golden_e2e,golden_navila,golden_vision,models,packed_linear,quantization,quantized_runtime,stacked_kernels}.py

# Beside the tests, which wait for nodes and clocks: mypy and the import contracts; then, at lower priorities, the tests
# as with AVX2 alone, in one process, and damaged inputs. What they say is in out/, and told at the end.
test: style  ## ruff, mypy, import contracts, tests; ALL=1: whole runs of ten seconds and more, and `make fuzz`, too
	@mkdir -p out
	@$(MAKE) --no-print-directory types >out/types.txt 2>&1 & types=$$!; \
	nice -n 5 $(MAKE) --no-print-directory test-avx2 WORKERS=0 >out/avx2.txt 2>&1 & avx2=$$!; \
	$(if $(ALL),nice -n 10 $(MAKE) --no-print-directory fuzz FUZZ_SECONDS=120,true) >out/fuzz.txt 2>&1 & fuzz=$$!; \
	failed=0; $(PYTEST) $(if $(ALL),--lines-run,-m "not long") --junit-xml=out/tests.xml || failed=$$?; \
	wait $$types || failed=$$?; cat out/types.txt; \
	wait $$avx2 || failed=$$?; cat out/avx2.txt; \
	wait $$fuzz || failed=$$?; grep -v '^{' out/fuzz.txt || true; \
	exit $$failed

test-quick: setup  ## the tests that are quick alone
	$(PYTEST) -m "not slow and not long"

test-avx2: export ATEN_CPU_CAPABILITY := avx2
test-avx2: export DNNL_MAX_CPU_ISA := AVX2
test-avx2: export ONEDNN_MAX_CPU_ISA := AVX2
test-avx2: export VILA_NAV_KERNELS := avx2
test-avx2: setup  ## what computes, tested as on a processor with AVX2 and nothing above
	@mkdir -p out
	$(PYTEST) --junit-xml=out/tests-avx2.xml $(addprefix test/,$(AVX2_TESTS))

fuzz: setup  ## read damaged inputs of every kind for FUZZ_SECONDS=300, as FUZZ_SEED=0 damages them
	@cd test && PYTHONPATH=support ../.venv/bin/python -m fuzzing.fuzz --seed $(FUZZ_SEED) --seconds $(FUZZ_SECONDS)

lint: style types  ## ruff, mypy, the import contracts, and actionlint if there is one

style: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@if command -v actionlint >/dev/null; then actionlint; else \
	  echo "lint: there is no actionlint; .github/workflows were not checked with it"; fi

types: setup
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

colcon: setup  ## the other build: colcon build and colcon test, on the ROS in .venv
	$(PIP) --quiet colcon-common-extensions
	PATH="$(VENV)/bin:$$PATH" colcon build --paths . --event-handlers console_cohesion+
	PATH="$(VENV)/bin:$$PATH" colcon test --paths . --event-handlers console_cohesion+
	$(VENV)/bin/colcon test-result --verbose

KERNELS := vila_core/kernels/source
SANITIZE := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
SANITIZED := test_kernels.py test_operations.py test_stacked_kernels.py
COMPARE := -std=c++17 -fopenmp -Wall -Wextra -Werror -Wno-uninitialized -Wno-maybe-uninitialized \
  -I$(KERNELS) test/neon/compare_sets.cpp $(KERNELS)/*.cpp

sanitize: export VILA_NAV_KERNELS_FLAGS := $(SANITIZE)
sanitize: export ASAN_OPTIONS := detect_leaks=0
sanitize: setup  ## the kernels' tests with GCC's address and undefined-behaviour sanitizers
	@export CXX=g++ LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)"; \
	$(VENV)/bin/python -c 'from vila_core.kernels.library import kernels_status as status; \
	  print("kernels:", status().text()); raise SystemExit(not status().instruction_set)' && \
	$(VENV)/bin/python -m pytest --capture=no $(addprefix test/vila_core/,$(SANITIZED))

neon:  ## compile the kernels for 64-bit Arm and compare NEON with plain C++, under qemu-user
	@command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64 >/dev/null || { \
	  echo "neon: needs Debian's packages g++-aarch64-linux-gnu and qemu-user" >&2; exit 1; }
	@mkdir -p build/neon
	aarch64-linux-gnu-g++ -O2 $(COMPARE) -o build/neon/compare_sets
	qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu cortex-a76 build/neon/compare_sets scalar neon
	@# without dot product (Raspberry Pi 4) the set is refused
	qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu cortex-a72 build/neon/compare_sets scalar neon; test $$? = 2

clip: data/vtest.avi  ## fetch a real video for a test and `vila bench video`: vtest.avi of Debian's opencv-doc

data/vtest.avi:
	@command -v apt-get >/dev/null && command -v dpkg >/dev/null || { \
	  echo "clip: needs apt-get and dpkg; put OpenCV's samples/data/vtest.avi into data/ yourself" >&2; exit 1; }
	@mkdir -p data
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	(cd "$$folder" && apt-get download -qq opencv-doc && dpkg -x opencv-doc_*.deb .) || exit 1; \
	found=$$(find "$$folder" -name 'vtest.avi*' | head -n 1); \
	case "$$found" in \
	  *.gz) gunzip -c "$$found" >$@.part;; \
	  "") echo "clip: this opencv-doc holds no vtest.avi" >&2; exit 1;; \
	  *) cp "$$found" $@.part;; \
	esac && mv $@.part $@

clean:  ## remove builds, results and caches; keep .venv and data
	rm -rf build install log out *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

setup: $(READY)  ## system libraries, .venv, this package with all extras; nothing to do the second time

$(READY): $(SETUP_INPUTS) | platform system
	@echo "[setup] virtual environment in .venv"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "[setup] build tools and ROS 2 wheels (minutes, once)"
	$(PIP) -r requirements/build.txt
	@echo "[setup] messages and this package with its libraries (minutes, once)"
	PATH="$(VENV)/bin:$$PATH" $(PIP) --no-build-isolation --editable '.[all]'
	@touch $(READY)
	@echo "[setup] done"

platform:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "setup: $(PYTHON) is missing or older than 3.10; name another: make setup PYTHON=python3.12" >&2; exit 1; }
	@test "$$(uname -s)-$$(uname -m)" = Linux-x86_64 || { \
	  echo "setup: this is $$(uname -s) $$(uname -m); the ROS 2 wheels are for Linux x86_64 alone." >&2; \
	  echo "  works here:  pip install '.[sim]' for the model and the simulator" >&2; \
	  echo "  with a ROS 2 of your own (Humble, Jazzy, Kilted): colcon build; see README.md" >&2; exit 1; }

# What is missing and apt can bring: OpenGL without a screen, a C++ compiler and Python's own parts.
system:
	@missing=""; \
	libraries="$$(PATH="$$PATH:/sbin:/usr/sbin" ldconfig -p)"; \
	grep -q libEGL.so.1 <<<"$$libraries" || missing+=" libegl1"; \
	grep -q libGL.so.1 <<<"$$libraries" || missing+=" libgl1"; \
	grep -q libGLU.so.1 <<<"$$libraries" || missing+=" libglu1-mesa"; \
	command -v g++ >/dev/null || missing+=" g++"; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing+=" python3-venv"; \
	$(PYTHON) -c 'import pathlib, sysconfig, sys; \
	  sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || missing+=" python3-dev"; \
	test -n "$$missing" || exit 0; \
	sudo=""; test "$$(id -u)" = 0 || sudo=sudo; \
	if ! command -v apt-get >/dev/null || ! command -v $${sudo:-true} >/dev/null; then \
	  echo "setup: missing system packages:$$missing; install them (names of Debian and Ubuntu), then repeat" >&2; exit 1; fi; \
	echo "[setup] apt-get install$$missing"; \
	$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing
