# make demo   gaze at a short drive over real ROS 2 and leave pictures in demo_out/
# make check  formatting, lint, types and the tests that are not slow: 3 minutes on 2 cores
# make test   formatting, lint, types, all tests and the docs: 15 minutes on 2 cores
# make docs   the pages in docs/ as a site in build/site; warnings are errors
# make soak   20,000 frames through a node while faults are injected, for minutes
# make bench  measure the engine, six live cameras and VideoMAE; JSON and a picture in build/bench/
# make fuzz   damage images, recordings, videos, checkpoints and messages at random, for minutes
#
# All first make .venv: Python packages, ROS 2 wheels and our messages. Needed
# beforehand: Python 3.10-3.13, cmake and a C++ compiler; no ROS.
#
#   PYTHON=python3.12      another interpreter
#   TORCH_INDEX=URL        a package index with another build of torch (CPU only, CUDA, ROCm)
#   CLIP=path.mp4          your own video for the demo
#   CARLA=1                the demo with six cameras, as CARLA's bridge would publish them
#   CHECKPOINT=DIR|HUB_ID  other AutoGaze weights for the demo than the embedded
#   AGAINST=DIR            a checkout of NVlabs/AutoGaze that the benchmark of the engine compares with
#   JOBS=4                 so many processes for the tests instead of 2; 0: none beside pytest itself

# Choices once made hold until others are made; then .venv is made anew.
remembered = $(shell sed -n $(1)p build/choices 2>/dev/null)
PYTHON ?= $(or $(call remembered,1),python3)
TORCH_INDEX ?= $(call remembered,2)
$(shell mkdir -p build; printf '%s\n' '$(PYTHON)' '$(TORCH_INDEX)' >build/choices.new; \
  cmp -s build/choices.new build/choices || cp build/choices.new build/choices)
CLIP ?=
CARLA ?=
CHECKPOINT ?=
AGAINST ?=
JOBS ?= 2

TORCH := torch==2.13.0
NO_DEPS := requirements/no-deps.txt
VENV := .venv
INTERFACES := build/interfaces
.DEFAULT_GOAL := help
.PHONY: help demo announce check test fuzz soak bench docs clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

demo: $(VENV)/interfaces.stamp
	@$(VENV)/bin/python -m autogaze_ros.ros.demo $(if $(CLIP),--clip "$(CLIP)") $(if $(filter-out 0,$(CARLA)),--carla) $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)")

check: ONLY := -m 'not slow'
check test: announce $(VENV)/interfaces.stamp
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ONLY)

# How long it takes is said above, and nowhere else.
announce:
	@sed -n $(foreach goal,$(or $(filter check test,$(MAKECMDGOALS)),check test),-e 's/^# \(make $(goal) .*\)/\1/p') Makefile

test: docs
docs: $(VENV)/interfaces.stamp
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

UNLIMITED := --timeout 0 -o faulthandler_timeout=0
soak: $(VENV)/interfaces.stamp
	SOAK_FRAMES=20000 $(VENV)/bin/pytest -s $(UNLIMITED) test/ros/test_soak.py

fuzz: $(VENV)/interfaces.stamp
	$(VENV)/bin/pytest test/fuzz $(UNLIMITED) --hypothesis-profile=fuzz

BENCH := build/bench
bench: $(VENV)/interfaces.stamp
	mkdir -p $(BENCH)
	$(VENV)/bin/python benchmarks/engine.py $(if $(AGAINST),--against "$(AGAINST)") --out $(BENCH)/engine.json --picture $(BENCH)/engine.svg
	$(VENV)/bin/python benchmarks/cameras.py --selector autogaze --busy 1 --out $(BENCH)/cameras.json
	$(VENV)/bin/python benchmarks/cameras.py --selector autogaze --dtype bfloat16 --busy 1 --out $(BENCH)/cameras_bfloat16.json
	$(VENV)/bin/python benchmarks/video_mae.py --out $(BENCH)/video_mae.json

clean:
	rm -rf .venv build demo_out

# $(call need,command,what it is,package that has it)
need = @command -v $(1) >/dev/null || { echo "$(2) is missing ($(1)): install it, for example with apt install $(3)" >&2; exit 1; }
python-can = @$(PYTHON) -c $(1) 2>/dev/null || { echo $(2) >&2; exit 1; }

# Asked before anything is downloaded, so that nobody waits minutes to be told.
define tools
	$(call need,cmake,CMake,cmake)
	$(call need,c++,A C++ compiler,g++)
	$(call need,$(PYTHON),Python,python3)
	$(call python-can,'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))',"$(PYTHON) must be Python 3.10 to 3.13: name another one with PYTHON=")
	$(call python-can,'import ensurepip',"$(PYTHON) cannot make environments: install venv for it - for example with apt install python3-venv")
	$(call python-can,'import sysconfig$(comma) pathlib; next(pathlib.Path(sysconfig.get_path("include")).glob("Python.h"))',"Python.h is missing: install Python headers - for example with apt install python3-dev")
endef

$(VENV)/pins.stamp: $(wildcard requirements/*.txt) setup.py Makefile build/choices
	$(tools)
	@echo "Installing Python packages into .venv (minutes the first time; build/pip.log)"
	@$(if $(filter build/choices,$?),rm -rf $(VENV))
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/pip install -qq --progress-bar off --log build/pip.log $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	@$(VENV)/bin/pip install -qq --progress-bar off --log build/pip.log $(TORCH) $(patsubst %,-r %,$(filter-out $(NO_DEPS),$(wildcard requirements/*.txt)))
	@$(VENV)/bin/pip install -qq --progress-bar off --log build/pip.log --no-deps --no-build-isolation -r $(NO_DEPS)
	@$(VENV)/bin/pip install -qq --progress-bar off --log build/pip.log --no-deps --no-build-isolation --editable .
	@touch $@

# The folder msg/ itself is named so that a removed message is noticed too.
$(VENV)/interfaces.stamp: $(VENV)/pins.stamp CMakeLists.txt package.xml msg $(wildcard msg/* cmake/* config/* launch/* scripts/*)
	$(tools)
	@echo "Building the messages into .venv (build/interfaces.log)"
	@rm -rf $(INTERFACES) $(VENV)/lib/python3*/site-packages/autogaze_ros $(VENV)/share/autogaze_ros $(VENV)/lib/autogaze_ros
	@export PATH="$(CURDIR)/$(VENV)/bin:$$PATH" VIRTUAL_ENV="$(CURDIR)/$(VENV)"; { \
	  cmake -S . -B $(INTERFACES) -DCMAKE_INSTALL_PREFIX="$(CURDIR)/$(VENV)" -DCMAKE_PREFIX_PATH="$(CURDIR)/$(VENV)" -DBUILD_TESTING=OFF -DMESSAGES_ONLY=ON && \
	  cmake --build $(INTERFACES) --parallel && \
	  cmake --install $(INTERFACES); } >build/interfaces.log 2>&1 \
	  || { tail -20 build/interfaces.log; exit 1; }
	@touch $@

comma := ,
