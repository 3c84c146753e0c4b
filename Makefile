# Everything a fresh machine needs (Debian 12, Python 3.11, make): `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
TORCH := torch==2.13.0
# Errors alone: setuptools warns at length that an installation is editable. Without compiling what is never imported,
# which takes a third of the time. What is imported is compiled once, and kept whatever the environment says.
INSTALL := $(RUN) -m pip install --quiet --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE
# A process for each core, each with one thread of torch and of ITK, a test file at a time in the order of the
# conftest.py: two thirds of the time of one after the other.
PYTEST := OMP_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 $(RUN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-quick types layers lint clean

demo: $(VENV)/installed-run
	$(RUN) -m ULAERegistrationLib demo -o demo

test: $(VENV)/installed-test
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(MAKE) --jobs 2 types layers

types: $(VENV)/installed-test
	$(VENV)/bin/mypy

layers: $(VENV)/installed-test
	$(PYTEST) Testing/Python
	$(PYTEST) Testing/MRML
	QT_QPA_PLATFORM=offscreen VTK_DEFAULT_OPENGL_WINDOW=vtkEGLRenderWindow $(PYTEST) Testing/Module

# What a contributor runs before every commit: a minute on two cores.
test-quick: $(VENV)/installed-test
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PYTEST) Testing/Python -m "not slow" -x

lint: $(VENV)/installed-test
	$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip

$(VENV)/installed-run: $(VENV)/bin/python pyproject.toml
	$(INSTALL) $(TORCH) --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/bin/python pyproject.toml
	$(INSTALL) $(TORCH) --editable ".[test]"
	touch $(VENV)/installed-run $@

clean:
	rm -rf $(VENV) demo build *.egg-info
