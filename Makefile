PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup train distill self-train self-train-fashion segment distill-masks self-train-masks results report sync benchmark check test clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  Run targets take ARGS, for instance: make distill ARGS="--seed 1 --distillation.temperature 2"'

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,wandb,export,sweep]' --constraint constraints.txt
	@touch $@

setup: $(VENV)/installed  ## make .venv and install what is needed

train: setup  ## train one network on labelled digits
	$(BIN)/python -m experiments train --config experiments/configs/digits_train.yaml $(ARGS)

distill: setup  ## train a teacher, a student alone, the same student distilled
	$(BIN)/python -m experiments distill --config experiments/configs/digits_distill.yaml $(ARGS)

self-train: setup  ## a teacher labels the pool, a noised student learns from it and teaches next, three rounds
	$(BIN)/python -m experiments self-train --config experiments/configs/digits_self_train.yaml $(ARGS)

self-train-fashion: setup  ## likewise on Fashion-MNIST with 1,000 labels, about three quarters of an hour
	$(BIN)/python -m experiments self-train --config experiments/configs/fashion_mnist_self_train.yaml $(ARGS)

segment: setup  ## a U-Net learns scenes of digits over photographs; pictures of what it finds
	$(BIN)/python -m experiments segment --config experiments/configs/digit_scenes_segment.yaml $(ARGS)

distill-masks: setup  ## distill, on scenes of which a tenth have masks
	$(BIN)/python -m experiments distill --config experiments/configs/digit_scenes_distill.yaml $(ARGS)

self-train-masks: setup  ## self-train, on scenes of which a twentieth have masks
	$(BIN)/python -m experiments self-train --config experiments/configs/digit_scenes_self_train.yaml $(ARGS)

results: setup  ## five seeds of make distill: the table of the README, with intervals
	$(BIN)/python -m experiments compare --config experiments/configs/results.yaml $(ARGS)

report: setup  ## write a run's report anew and print its path: make report RUN=runs/NAME (default: the newest)
	@test -n "$(RUN)" -o -d runs || { echo 'no runs below runs/ yet'; exit 1; }
	$(BIN)/python -m experiments report --runs $(or $(RUN),$(shell ls -td runs/*/ 2>/dev/null | head -1)) $(ARGS)

sync: setup  ## upload the W&B runs that were kept offline
	@test -d runs || { echo 'no runs below runs/ yet'; exit 1; }
	@find runs -type d -name 'offline-run-*' -prune -exec $(BIN)/wandb sync $(ARGS) {} +

benchmark: setup  ## time our code against its peers, interleaved in one process
	$(BIN)/python -m experiments.benchmarks $(ARGS)

check: setup  ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: setup  ## all tests, on all cores
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal $(ARGS)

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info build dist
