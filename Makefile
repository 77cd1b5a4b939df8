# Everything needs Python 3.11 or newer and nothing else. PYTHON=python3.12 picks another one.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# mypy does not know that the rooms are installed as mmtuna.spaces, ...: it reads them where they are named so.
TYPED := $(VENV)/typed
LOCK := setup.py pyproject.toml constraints.txt $(wildcard locks/*.txt) scripts/setup.sh
# pip compiles no module here: what the first import of one compiles has to be kept.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-slow check zoo clean

# A demo needs a part of what is locked; what tests need comes on top of it.
$(VENV)/.demo: $(LOCK)
	PYTHON="$(PYTHON)" scripts/setup.sh $(VENV) export
	touch $@

$(VENV)/.ready: $(LOCK)
	PYTHON="$(PYTHON)" scripts/setup.sh $(VENV)
	touch $(VENV)/.demo $@

demo: $(VENV)/.demo
	scripts/demo.sh $(BIN)

# Much of a test's time it waits for processes that start: one more at a time than there are cores, up to four, those of
# a file by the same process. In the order of the folders: of files with few and long tests none is left to the end.
# A thread each: more would spend their time waiting for a core that another test has.
test: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n "$$($(BIN)/python -c 'import os; print(min(4, os.cpu_count() + 1))')" --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf $(TYPED) && mkdir -p $(TYPED)/mmtuna
	ln -s $(addprefix $(CURDIR)/,$(wildcard mmtuna/*) spaces objectives studies search) $(TYPED)/mmtuna/
	MYPYPATH=$(TYPED) $(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

# Hours on two cores; ended, it goes on where it stood.
zoo: $(VENV)/.ready
	$(BIN)/python benchmarks/zoo/run.py

clean:
	rm -rf $(VENV) runs
