# Two commands need nothing except Python 3.11+: `make demo` and `make test`. Both set up .venv the first time.

PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
WORKERS ?= 2
PORT ?= 8000
PROMPTS := "a thick red seven leaning left" "7, blue on white" "the digit three, thin strokes" \
	"a bold yellow 5 on dark blue, leaning right"

# The playground is built where there is Node, and the site does without it elsewhere.
PLAYGROUND := $(if $(shell command -v npm),$(if $(wildcard site/playground/package.json),site/playground/dist/index.html))

.DEFAULT_GOAL := help
.PHONY: help demo test test-full test-oldest test-site lint lessons bench site serve release grade grade-open report clean
.DELETE_ON_ERROR:

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## */  make \1 - /p' Makefile

demo: .venv/.installed  ## generate images for four prompts
	$(BIN)/tinyldm generate $(PROMPTS) --out $(DEMO)
	@echo "The four pictures are in $(CURDIR)/$(DEMO)/, side by side in $(CURDIR)/$(DEMO)/grid.png"

test: lint  ## run all checks, all tests, and all lessons in their fast version
	TINYLDM_PROFILE=fast OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope \
		--no-loadscope-reorder --nbval-lax --nbval-current-env

test-full: .venv-old/.installed  ## run the slow tests: Stable Diffusion 1.x at full size (8 GB), a grader killed ten times
	$(BIN)/python -m pytest -q -m full

test-oldest: .venv-oldest/.installed  ## run the unit tests with the oldest libraries that pyproject.toml allows
	TINYLDM_PROFILE=fast OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -q -n $(WORKERS) --dist loadscope tests

test-site: .venv/.installed-dev  ## use the playground in a real browser as a person would (Node 20, Chromium or Chrome)
	@command -v npm > /dev/null || { echo "test-site needs Node 20 or newer: nodejs.org" >&2; exit 2; }
	@$(MAKE) --no-print-directory site/playground/dist/index.html
	cd site/playground && PYTHON="$(CURDIR)/$(BIN)/python" npx playwright test

lint: .venv/.installed-dev  ## check style and types only
	$(BIN)/ruff check .
	$(BIN)/mypy

lessons: .venv/.installed-dev  ## run all lessons and update their outputs and minutes
	$(BIN)/python notebooks/run.py

bench: .venv/.installed-dev  ## time drawing, training and growth beside diffusers on this CPU, a quarter of an hour
	$(BIN)/python benchmarks/drawing.py --rounds 5
	$(BIN)/python benchmarks/training.py --rounds 5
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/peers.py --seconds 10 --only tinyldm --only hugging-face-course

site: .venv/.installed-site $(PLAYGROUND)  ## build the web site into site/_build (its playground with Node 20)
	@test -n "$(PLAYGROUND)" || echo "no Node here, so the site has no playground; get Node 20 or newer from nodejs.org" >&2
	$(BIN)/python site/make_site.py

serve:  ## show the built site in a browser on this computer: http://127.0.0.1:8000, or PORT=...
	@test -f site/_build/index.html || { echo "no site built yet: make site" >&2; exit 2; }
	@echo "http://127.0.0.1:$(PORT) (Ctrl-C ends it)"
	@$(PYTHON) -m http.server $(PORT) --bind 127.0.0.1 --directory site/_build

release: .venv/.installed-dev  ## make the exercises from the lessons; VARIANT=seed: private ones, with other numbers
	$(BIN)/python instructor/release.py $(if $(VARIANT),--variant "$(VARIANT)")

grade: .venv/.installed-dev  ## grade SUBMISSIONS=folder-or-zip [VARIANT=seed]; more in instructor/README.md
	@test -n "$(SUBMISSIONS)" || { echo "what should be graded? make grade SUBMISSIONS=handed-in.zip" >&2; exit 2; }
	@$(BIN)/python instructor/grade.py "$(SUBMISSIONS)" $(if $(VARIANT),--variant "$(VARIANT)") \
		$(if $(ROSTER),--roster "$(ROSTER)") $(if $(DUE),--due "$(DUE)") $(if $(FORCE),--force "$(FORCE)") \
		$(if $(LMS),--lms "$(LMS)") $(if $(TEMPLATE),--template "$(TEMPLATE)")

grade-open: .venv/.installed-dev  ## grade open answers by hand, in a browser
	@test -f graded/gradebook.db || { echo "no notebook graded yet: make grade SUBMISSIONS=handed-in.zip" >&2; exit 2; }
	cd graded && "$(CURDIR)/$(BIN)/jupyter" lab --ServerApp.ip=localhost --ServerApp.root_dir="$(CURDIR)/graded" \
		--LabApp.default_url=/formgrader/gradebook

report: .venv/.installed-dev  ## what a graded class found hard, and answers that are alike
	@$(BIN)/python instructor/report.py

clean:  ## remove .venv and what these commands wrote, but for graded/ and private/
	rm -rf .venv .venv-old .venv-oldest build site/_build outputs $(DEMO) *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Of every core requirement ("torch>=2.11",) the lower bound (torch==2.11), as pip's constraints.
.venv-oldest/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	sed -n '/^dependencies/,/^]/s/^ *"\(.*\)>=\(.*\)",/\1==\2/p' pyproject.toml > .venv-oldest/oldest.txt
	.venv-oldest/bin/pip install -q -c .venv-oldest/oldest.txt -e '.[lab,dev,grade]'
	@touch $@

# The oldest diffusers and transformers that open what we export and install on this Python; the rest is .venv's.
.venv-old/.installed: .venv/.installed-dev
	$(PYTHON) -m venv .venv-old
	.venv-old/bin/pip install -q "transformers==4.57.*" "diffusers==0.36.*"
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$(.venv-old/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/rest.pth"
	@touch $@

# A stamp newer than pyproject.toml means that its dependencies are installed, so a second run starts at once.
.venv/.installed: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install -q -e .
	@touch $@

.venv/.installed-dev: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install -q -e '.[lab,dev,grade]'
	@touch .venv/.installed $@

.venv/.installed-site: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install -q -e '.[site]'
	@touch .venv/.installed $@

site/playground/dist/index.html: $(wildcard site/playground/src/* site/playground/*.*) \
		site/playground/node_modules/.package-lock.json site/playground/public/model/model.json
	cd site/playground && npm run build
	@touch $@

site/playground/node_modules/.package-lock.json: site/playground/package-lock.json
	cd site/playground && npm ci --no-audit --no-fund --ignore-scripts
	@touch $@

site/playground/public/model/model.json: tinyldm/portable.py $(wildcard tinyldm/pretrained/*) | .venv/.installed-site
	rm -rf site/playground/public/model
	$(BIN)/tinyldm export --to onnx site/playground/public/model

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "tinyldm needs Python 3.11 or newer; choose one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
