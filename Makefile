# Everything needs Python 3.11 or newer and nothing else. PYTHON=python3.12 picks another one.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# mypy does not know that the rooms are installed as mmtuna.spaces, ...: it reads them where they are named so.
TYPED := $(VENV)/typed

.PHONY: demo test test-slow check zoo clean

$(READY): setup.py pyproject.toml constraints.txt scripts/setup.sh
	PYTHON="$(PYTHON)" scripts/setup.sh $(VENV)

demo: $(READY)
	scripts/demo.sh $(BIN)

# Most of a test's time it waits for processes that start: several at a time, those of a file by the same process.
test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf $(TYPED) && mkdir -p $(TYPED)/mmtuna
	ln -s $(addprefix $(CURDIR)/,$(wildcard mmtuna/*) spaces objectives studies search) $(TYPED)/mmtuna/
	MYPYPATH=$(TYPED) $(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

# Hours on two cores; ended, it goes on where it stood.
zoo: $(READY)
	$(BIN)/python benchmarks/zoo/run.py

clean:
	rm -rf $(VENV) runs
