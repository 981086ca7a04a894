PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs bench clean

# installs the package and runs the main job on the shipped data
demo: $(VENV)/demo.stamp
	$(BIN)/gapkit demo -o gapkit-demo

# installs the test extra and runs the suite
test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell --skip "*.xyz,./docs/_build,./docs/gallery,./gapkit-demo,./.venv,*.egg-info" --ignore-words-list "ba,nd,hsi,dscribe,commun,enery,mater,abl,mattern,globaly" .

docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/%.stamp: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[$*]"
	touch $@ $(VENV)/demo.stamp

clean:
	rm -rf $(VENV) docs/_build docs/gallery docs/generated gapkit-demo build *.egg-info
