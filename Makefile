# make demo | test | bench | zoo | lint. The first call makes the environment; later calls find it.
# PYTHON=python3.12 chooses another interpreter, ARGS="--seed 1" goes to the command, CPU-only torch: see README.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test bench zoo lint format lock clean

# A sourced ROS 2 is used, with the Python that it was built for and in an environment of its own; else PyPI's wheels of Jazzy are.
ifdef ROS_DISTRO
VENV := .venv-$(ROS_DISTRO)
CANDIDATES := python3
VENV_FLAGS := --system-site-packages
# ROS 2 up to Jazzy is built against the distribution's numpy, which stays below 2.
PINS := sed -E '/^(ros-|numpy==|ml-dtypes==)/d' requirements.txt; echo 'numpy<2'
else
VENV := .venv
CANDIDATES := python3.11 python3
VENV_FLAGS :=
PINS := cat requirements.txt
endif
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2

help: ## What can be made
	@grep -hE '^[a-z.]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z.]+):.*## (.*)/  make \1\t\2/' | expand -t 14

demo: $(READY) ## The whole loop on this machine, over real ROS 2; the path of the report is printed last
	@$(BIN)/forerun demo $(ARGS)

test: $(READY) ## Style, types and every test; pytest's summary comes last, behind it only what style and types have to say
	@status=0; said=$$(mktemp); trap 'rm -f "$$said"' EXIT; $(MAKE) --no-print-directory lint >"$$said" 2>&1 & lint=$$!; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder $(ARGS) || status=$$?; \
	wait $$lint || { status=$$?; cat "$$said"; }; exit $$status

bench: $(READY) ## Measure planner, training, simulator, bags and loop
	@$(BIN)/forerun bench $(ARGS)

# name=recipe of each ready bundle
ZOO := cartpole=cartpole pendulum=pendulum double_pendulum=double_pendulum_sim
zoo: $(READY) ## Learn the ready bundles of models/zoo anew, from simulation alone; some minutes
	@set -euo pipefail; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	for pair in $(ZOO); do \
	  robot=$${pair%%=*}; recipe=$${pair#*=}; \
	  $(BIN)/forerun simulate $$robot --episodes 240 --steps 200 --seed 0 --out "$$scratch/$$robot.bag"; \
	  $(BIN)/forerun train "$$scratch/$$robot.bag" --robot $$robot --recipe $$recipe --seed 0 --out "$$scratch/$$robot.run"; \
	  $(BIN)/forerun export "$$scratch/$$robot.run" --replay 16 --out "$$scratch/$$robot"; \
	  rm -rf models/zoo/$$robot; mv "$$scratch/$$robot" models/zoo/$$robot; \
	done

lint: $(READY) ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy sim models ros2_ws/forerun

format: $(READY) ## Let ruff put the style right
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.venv: $(READY) ## The environment alone

# .ready is written last, so an interrupted set-up is taken up again by the next call.
$(READY): requirements.txt setup.py $(wildcard sim/forerun_sim/*.h sim/forerun_sim/*/*.h sim/forerun_sim/*/_*.c)
	@set -euo pipefail; \
	python=''; \
	for candidate in $(or $(PYTHON),$(CANDIDATES)); do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo 'Forerun needs Python 3.11 to 3.13 with venv (Debian, Ubuntu: apt install python3-venv). make PYTHON=... names one.' >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version): once, some minutes and up to 6 GB (torch; a CPU build takes less)."; \
	"$$python" -m venv $(VENV_FLAGS) $(VENV); \
	export PIP_DISABLE_PIP_VERSION_CHECK=1; \
	{ $(PINS); } > $(VENV)/pins.txt; \
	if ! $(BIN)/python -c 'import pybullet' 2>/dev/null && \
	   ! $(BIN)/pip install -qq --dry-run --no-deps --only-binary=pybullet "$$(grep '^pybullet==' $(VENV)/pins.txt)" >/dev/null 2>&1; then \
	  echo 'There is no pybullet wheel for this Python: pip compiles it now, about 10 minutes, silent while it works.'; \
	  command -v c++ >/dev/null || { echo 'That needs a C++ compiler, and there is none (Debian, Ubuntu: apt install g++).' >&2; exit 1; }; \
	fi; \
	$(BIN)/pip install -qq -r $(VENV)/pins.txt; \
	$(BIN)/pip install -qq --no-deps --no-build-isolation -e .; \
	touch $(READY); \
	echo "$(VENV) is ready."

lock: ## Write requirements.txt anew from setup.py's extras
	@set -euo pipefail; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	python3.11 -m venv "$$scratch/venv"; \
	env -u ROS_DISTRO "$$scratch/venv/bin/pip" install -q --dry-run --ignore-installed -e '.[dev]' 'torch==2.13.0' --report "$$scratch/report.json"; \
	grep '^#' requirements.txt > "$$scratch/lock"; \
	python3.11 -c 'import json, re, sys; print(*sorted(re.sub("[-_.]+", "-", m["name"]).lower() + "==" + m["version"].split("+")[0] \
	  for m in (row["metadata"] for row in json.load(open(sys.argv[1]))["install"]) if m["name"] != "forerun"), sep="\n")' "$$scratch/report.json" >> "$$scratch/lock"; \
	cp "$$scratch/lock" requirements.txt

clean: ## Remove the environment and what was built
	@rm -rf .venv .venv-* build install log ros2_ws/build ros2_ws/install ros2_ws/log *.egg-info
