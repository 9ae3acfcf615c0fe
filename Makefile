# Two commands need nothing but Python 3.11+: `make demo` and `make test`. Both set up .venv the first time.

PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
PROMPTS := "a thick red seven leaning left" "7, blue on white" "the digit three, thin strokes" \
	"a bold yellow 5 on dark blue, leaning right"

.DEFAULT_GOAL := help
.PHONY: help demo test test-full lint lessons release grade clean
.DELETE_ON_ERROR:

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## */  make \1 - /p' Makefile

demo: .venv/.installed  ## four prompts become one picture
	$(BIN)/tinyldm generate $(PROMPTS) --out $(DEMO)
	@echo "The four pictures lie in $(CURDIR)/$(DEMO)/, side by side in $(CURDIR)/$(DEMO)/grid.png"

test: lint  ## every check, every test, every lesson in its fast form
	TINYLDM_PROFILE=fast $(BIN)/python -m pytest -q --nbval-lax --nbval-current-env

test-full: .venv/.installed-dev  ## the slow ones: Stable Diffusion 1.x at its real size (8 GB), a class of twenty
	$(BIN)/python -m pytest -q -m full

lint: .venv/.installed-dev  ## style only
	$(BIN)/ruff check .

lessons: .venv/.installed-dev  ## run all lessons and write their outputs and minutes back
	$(BIN)/python notebooks/run.py

release: .venv/.installed-dev  ## the exercises from the lessons; VARIANT=seed: private ones, with other numbers
	$(BIN)/python instructor/release.py $(if $(VARIANT),--variant "$(VARIANT)")

grade: .venv/.installed-dev  ## SUBMISSIONS=folder-or-zip [VARIANT=seed]; runs students' code, see instructor/
	@test -n "$(SUBMISSIONS)" || { echo "what shall be graded? make grade SUBMISSIONS=handed-in.zip" >&2; exit 2; }
	$(BIN)/python instructor/grade.py "$(SUBMISSIONS)" $(if $(VARIANT),--variant "$(VARIANT)")

clean:  ## remove .venv and everything that the commands wrote
	rm -rf .venv build outputs graded $(DEMO) *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than pyproject.toml when what that asks for is installed, so that a second run starts at once.
.venv/.installed: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install -q -e .
	@touch $@

.venv/.installed-dev: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install -q -e '.[lab,dev,grade]'
	@touch .venv/.installed $@

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "tinyldm needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
