# Two commands are enough on a machine with Python 3.11 and make: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
DEMO ?=

.PHONY: demo test test-slow lint install clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev,text]'
	touch $@

demo: install
	$(VENV)/bin/ctvlp demo out=demo $(DEMO)

test: install
	$(VENV)/bin/python -m pytest --numprocesses=auto

test-slow: install
	$(VENV)/bin/python -m pytest --numprocesses=auto -m slow

lint: install
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

clean:
	rm -rf demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
