# make demo | make test: all the set-up they need, in .venv of this folder.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD_TOOLS := scikit-build-core nanobind cmake ninja
NEEDED := cc c++ make $(PYTHON)
APT_BUILD := build-essential python3-dev python3-venv
APT_DEV := $(APT_BUILD) mosquitto mosquitto-clients postgresql systemd socat valgrind chromium clang clang-format libclang-rt-14-dev \
  qemu-system-arm qemu-system-misc qemu-user gcc-arm-none-eabi libnewlib-arm-none-eabi gcc-riscv64-unknown-elf \
  picolibc-riscv64-unknown-elf gcc-xtensa-lx106 picolibc-xtensa-lx106-elf gcc-aarch64-linux-gnu g++-aarch64-linux-gnu \
  gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help dev demo test test-long faults soak scale bench lint docs fuzz lock sbom native clean
help:
	@echo "make demo       build what the demo needs and run it; make demo WEB=1: a page to try it by hand"
	@echo "make test       build everything and run the tests (under 20 minutes)"
	@echo "make dev        apt packages (as root or with sudo) and .venv with every extra"
	@echo "make test-long  the long tests;  make bench  the tables;  make lint  ruff, mypy, clang-format"

# --- set-up: each stamp is made once and made again when pyproject.toml changes
$(VENV)/.created:
	@tools/apt-ensure $(APT_BUILD)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q $(BUILD_TOOLS)
	@touch $@

$(VENV)/.demo: $(VENV)/.created pyproject.toml
	$(BIN)/pip install -q --no-build-isolation -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.created pyproject.toml
	@tools/apt-ensure $(APT_DEV)
	$(BIN)/pip install -q 'torch==2.13.0'
	$(BIN)/pip install -q --no-build-isolation -e '.[dev]'
	@touch $@

dev: $(VENV)/.dev

# rebuilds the extension in place after a change in native/ or device_fw/rlwe
native: $(VENV)/.created
	$(BIN)/pip install -q --no-build-isolation --no-deps -e .

# WEB=1: the page; ARGS: further options, as ARGS="--model fashion"
demo: $(VENV)/.demo
	$(BIN)/blindsight demo $(if $(WEB),--web) $(ARGS)

test: dev
	$(BIN)/python -m pytest -m "not long" -n 3 --dist loadfile

test-long: dev
	$(BIN)/python -m pytest -m long

# fault suite; RUNS=200 for the long run
faults: dev
	$(BIN)/python tests/faults/run.py --runs $(or $(RUNS),16)

# an hour of pictures without a pause; MINUTES=5 for less
soak: dev
	$(BIN)/python tests/faults/soak.py --minutes $(or $(MINUTES),60)

# one and two ingress processes and worker pairs: the same answers, and pictures a second
scale: dev
	$(BIN)/python tests/faults/scale.py

# every parser; SECONDS=600 for the long run, ONLY=NAME for one (tests/fuzz/run.py --list)
fuzz: dev
	$(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),60) $(if $(ONLY),--only $(ONLY))

# versions and hashes of every package; what Blindsight is made of (CycloneDX)
lock: dev
	$(BIN)/python tools/lock.py

sbom: dev
	$(BIN)/python tools/sbom.py

bench: dev
	$(BIN)/python -m bench

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	clang-format --dry-run -Werror $$(git ls-files '*.c' '*.h' '*.cpp' '*.hpp')

docs: dev
	$(BIN)/mkdocs build --strict

clean:
	rm -rf build $(VENV)
