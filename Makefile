# Set-up and checks, everything inside .venv. A stamp file makes a second call quick; edit pyproject.toml or
# constraints.txt and the next call installs again. Another interpreter: make test PYTHON=python3.12

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Waiting threads sleep (alignkit sets this too, but tests load torch first); tests never ask the Hub.
export OMP_WAIT_POLICY := passive

.PHONY: demo test test-slow test-browser test-gpu test-quant test-peer test-editor bench bench-gpu check clean
.DELETE_ON_ERROR:

demo: .venv/installed
	$(BIN)/alignkit run recipes/tidpo.yaml

# Two processes of one thread each: threads of several processes on the same cores would wait for each other. A file stays
# in one of them, so that the runs that its tests look at are made once.
test: check
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The marker given last wins over the one in pyproject.toml.
test-slow: .venv/installed-dev
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "slow and not peer and not editor and not browser and not gpu and not quant"

# Opens pages in Debian's chromium (apt-get install chromium), one after the other.
test-browser: .venv/installed-dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m browser tests/browser

# Numbers, bits and decoding on the GPU of this machine; ALIGNKIT_GPU_TESTS=cpu tries the tests themselves.
test-gpu: .venv/installed-dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m gpu tests/gpu

# Installs the extra `quant` (43 MB); its CPU part is enough.
test-quant: .venv/installed-dev
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[quant]'
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m quant

# Installs TRL in an environment of its own (some 1.5 GB) and compares with it.
test-peer: .venv/installed-dev
	$(BIN)/python -m pytest -m peer tests/peer

# The price of a step beside TRL, which it installs as test-peer does; some 30 minutes of one core, then docs/performance.md.
bench: .venv/installed-dev
	$(BIN)/python benchmarks/peer_environment.py
	for vocabulary in 8192 131072; do for what in "" --memory; do \
		$(BIN)/python benchmarks/price.py --vocabulary $$vocabulary $$what || exit 1; done; done
	for vocabulary in 8192 131072; do for variant in "alignkit dpo" "alignkit tidpo"; do \
		$(BIN)/python benchmarks/price.py --vocabulary $$vocabulary --profile "$$variant" || exit 1; done; done
	$(BIN)/python benchmarks/price.py --on-policy
	for curve in prompt response pairs vocabulary parameters; do \
		$(BIN)/python benchmarks/price.py --curve $$curve || exit 1; done
	$(BIN)/python benchmarks/pricing/page.py

# The same for a GPU: DPO, TI-DPO and GRPO of 0.5 and 3 billion parameters.
bench-gpu: .venv/installed-dev
	$(BIN)/python benchmarks/gpu.py --check
	$(BIN)/python benchmarks/peer_environment.py
	$(BIN)/python benchmarks/gpu.py
	$(BIN)/python benchmarks/pricing/page.py

# Installs yaml-language-server with npm (some 30 MB) and asks it about recipes; needs node.
test-editor: .venv/installed-dev
	$(BIN)/python -m pytest -m editor tests/editor

check: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache

# torch goes first and alone: a looser requirement among others would let pip pick a build with gigabytes of CUDA.
.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "alignkit needs Python 3.11 or newer with venv; give one: make demo PYTHON=/path/to/python" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) -e .
	@touch $@

.venv/installed-dev: .venv/installed
	$(PIP) -e '.[dev]'
	@touch $@
