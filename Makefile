# Everything a fresh machine needs (Debian 12, Python 3.11, make): `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
TORCH := torch==2.13.0

.PHONY: demo test test-quick lint clean

demo: $(VENV)/installed-run
	$(RUN) -m ULAERegistrationLib demo -o demo

test: $(VENV)/installed-test
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(RUN) -m pytest Testing/Python
	$(RUN) -m pytest Testing/MRML
	QT_QPA_PLATFORM=offscreen VTK_DEFAULT_OPENGL_WINDOW=vtkEGLRenderWindow $(RUN) -m pytest Testing/Module

# What a contributor runs before every commit: under a minute on two idle cores.
test-quick: $(VENV)/installed-test
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(RUN) -m pytest Testing/Python -m "not slow" -x

lint: $(VENV)/installed-test
	$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip

$(VENV)/installed-run: $(VENV)/bin/python pyproject.toml
	$(RUN) -m pip install --quiet $(TORCH)
	$(RUN) -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed-run
	$(RUN) -m pip install --quiet --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) demo build *.egg-info
