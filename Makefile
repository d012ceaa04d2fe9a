# Everything that one does with this checkout. `make` alone says what there is.
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# rustup's folder, for shells that were opened before it was installed.
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: help setup images build demo test test-extra check up down status migrate migrate-upgrade clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing: compiler, Postgres, Docker, one Python image
	@scripts/setup

images: ## get the images of all runtimes (pulled, or built here when no registry can be reached)
	@scripts/images

build: ## build the daemon and the CLI (target/release/rgridd, target/release/rgrid)
	cargo build --release -p rgridd -p rgrid-cli

demo: setup build ## run the tour: a daemon, a few scripts, what came of them
	@scripts/demo

test: setup ## run all tests, against a real Postgres and a real Docker
	cargo build --workspace
	scripts/with-postgres cargo test --workspace

test-extra: setup ## run what needs Chromium and promtool: the dashboard in a browser, the alert rules
	@scripts/extra-tools
	cargo build --workspace
	scripts/with-postgres cargo test --test extra -- --test-threads=1

check: ## what must pass before a commit: format, lints, docs
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace

up: setup build ## start the daemon of this checkout in the background (data and log in .rgrid/)
	@scripts/daemon up

down: ## stop that daemon; it finishes what runs
	@scripts/daemon down

status: ## tell whether that daemon is up and ready
	@scripts/daemon status

migrate: build ## tell which migrations the database lacks, then apply them
	@scripts/daemon migrate status
	@scripts/daemon migrate up

migrate-upgrade: build ## apply the migrations that the database lacks
	@scripts/daemon migrate up

clean: ## remove what was built; data in .rgrid/ stays
	cargo clean
