# What can be done here: `make help`.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint types contracts wheel bench format clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | \
		awk -F'|' '{ printf "  make %-10s %s\n", $$1, $$2 }'

setup: ## make .venv with all that is needed (a second time is instant)
	@command -v $(PYTHON) >/dev/null || \
		{ echo "set-up: there is no $(PYTHON); install Python 3.11 or newer (Debian and Ubuntu: apt-get install python3 python3-venv)" >&2; exit 1; }
	@$(PYTHON) scripts/set_up.py
