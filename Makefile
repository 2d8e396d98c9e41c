# Two commands for a newcomer: `make demo` and `make test`. CI runs `make check`.
# Each makes .venv if it is not there, and works offline once it is.

BIN := .venv/bin

.PHONY: demo test check format lint types imports picture dist reliability fuzz clean

demo: .venv/sandbox
	@$(BIN)/ci-identity demo

test: .venv/dev
	$(BIN)/python -m pytest -n 2

check: lint types imports test

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/dev
	$(BIN)/mypy
	$(BIN)/basedpyright

imports: .venv/dev
	$(BIN)/lint-imports

picture: .venv/dev
	$(BIN)/python docs/picture.py

# What the GitHub actions run: committed, and made anew whenever the package changes.
dist: .venv/dev
	$(BIN)/python actions/build.py

# Many jobs, sessions and leases at once; takes minutes, and wants a quiet machine.
reliability: .venv/dev
	$(BIN)/python benchmarks/reliability.py --json benchmarks/reliability.json

# Each reader of strangers' bytes, for a minute; atheris has wheels for Linux and some Pythons only.
fuzz: .venv/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	for reader in grants yaml token sts request answer certificate redaction; do \
	  $(BIN)/python tests/fuzz/guided.py $$reader -max_total_time=60 -max_len=4096 -rss_limit_mb=4096 || exit 1; done

# The files .venv/sandbox and .venv/dev remember which extra is installed, for which pyproject.toml.
.venv/sandbox .venv/dev: .venv/bin/python pyproject.toml
	@echo "installing ci-identity[$(@F)] into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(@F)]"
	@touch $@

.venv/bin/python:
	@python=$$(sh .ci/find-python) && echo "making .venv with $$python" && "$$python" -m venv .venv

clean:
	rm -rf .venv dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
