# make setup, train, test and check work on a fresh machine: each sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: setup train test slow check reference real kills load gpu gpu-carry

setup: .venv/installed

# constraints.txt pins every version; drop it from the line below to try the newest.
# pip would compile 19,000 files on one core; a few of them are for other versions of Python.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]' --constraint constraints.txt
	-$(BIN)/python -m compileall -qq -j 0 .venv/lib
	touch $@

train: setup
	$(BIN)/python src/train.py $(ARGS)

# one process per core: a test trains on one thread
test: setup
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

# What `make test` leaves out: more cases of a promise, steps of large networks, a fixed port
slow: setup
	$(BIN)/python -m pytest -m slow --numprocesses auto --dist worksteal $(ARGS)

# Against the real data sets, which must lie under data/ (docs/data.md): make real ARGS=--data-root=/elsewhere
real: setup
	$(BIN)/python -m pytest -m real $(ARGS)

# Kill runs at random moments and resume them: make kills ARGS="--kills=40 --data-root=/folder/of/MNIST"
kills: setup
	$(BIN)/python tests/kills.py $(ARGS)

# The service under load beside a plain endpoint: make load ARGS="--models=lite0,densenet121"
load: setup
	$(BIN)/python -m tests.load.check $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# docs/reference.md: every group, option and key, from conf/ and the docstrings
reference: setup
	PYTHONPATH=src $(BIN)/python -m strided.verbs.reference docs/reference.md

# On a machine with a GPU, by the python3 there: all of strided at work, six minutes at most.
# For a machine without a network, first run gpu-carry here (CONTRIBUTING.md).
gpu:
	$(PYTHON) -m tests.gpu.check $(ARGS)

gpu-carry: setup
	$(BIN)/python -m tests.gpu.carry $(ARGS)
