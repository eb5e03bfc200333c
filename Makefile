# make book, make test: all that a fresh machine needs is Python 3.11 to 3.13 and make.
# make lab, make bench, make peers, make check, make pages, make clean beside them.

.PHONY: book test lab bench peers check pages clean
.DEFAULT_GOAL := book

# The first interpreter that really starts and is new enough, but not too new.
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
ifndef PYTHON
PYTHON := $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python,\
	$(shell $(name) -c "$(FITS)" >/dev/null 2>&1 && echo $(name))))
endif

BIN := .venv/bin
# The environment belongs to the text of these two files, not to their dates.
INSTALLED := .venv/installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)

# Seeded runs are kept between the book and the checks of its pages.
export DLOPT_CACHE := $(CURDIR)/_build/cache
# Kernels come from this environment, not from one in the user's home.
export JUPYTER_PREFER_ENV_PATH := 1
# The package's own settings of pytest are for modules, not for notebooks.
# Two pages at a time with two threads each would mostly wait for one another.
NBVAL := -o addopts= -o filterwarnings=default --timeout=0 \
	--nbval-lax --nbval-current-env --nbval-cell-timeout=300
export PIP_DISABLE_PIP_VERSION_CHECK := 1

book: $(INSTALLED)
	$(BIN)/python book/_ext/build.py

test: $(INSTALLED) check
	$(BIN)/python book/_ext/build.py
	$(BIN)/python -m pytest -n 2 --dist loadfile
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(NBVAL) book

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: $(INSTALLED)
	$(BIN)/jupyter lab --ServerApp.root_dir=book $(if $(filter 0,$(shell id -u)),--allow-root)

bench: $(INSTALLED)
	$(BIN)/python -m dlopt.lab.bench
	$(BIN)/python -m pytest -q -m timing tests/view

# The libraries that make bench sets beside ours, where they are installed; no other target needs them.
peers: $(INSTALLED)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[bench]'

# After a page was edited: bring its twin in step, and store the outputs that the checks compare.
pages: $(INSTALLED)
	$(BIN)/python book/_ext/twins.py

$(INSTALLED):
ifeq ($(PYTHON),)
	@echo "No Python 3.11, 3.12 or 3.13 with venv was found. Install one (on Debian also python3-venv)," >&2
	@echo "or say where it is: make book PYTHON=/path/to/python3" >&2
	@exit 1
endif
	rm -rf .venv
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[cpu,book,test]'
	touch $@

# Everything that make made.
clean:
	rm -rf _build .venv .mypy_cache .pytest_cache .ruff_cache
	find dlopt tests book -name __pycache__ -prune -exec rm -rf {} +
