# All tasks of this checkout. `make` prints the list.
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# For shells that were opened before rustup was installed.
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: help setup images build image compose-test kubernetes-check deb deb-test demo test faults check check-extra test-extra fuzz sbom licences up down status migrate migrate-upgrade report bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install missing dependencies: compiler, linters, Postgres, Docker, one Python image
	@scripts/setup

images: ## Pull the images of all runtimes (or build them if no registry can be reached)
	@scripts/images

build: ## Build the daemon and the CLI (target/release/rgridd, target/release/rgrid)
	cargo build --release -p rgridd -p rgrid-cli

image: setup ## Build the daemon's image rgrid:latest (on a base from a registry or from Debian packages)
	@scripts/image

compose-test: ## Test that image with compose.yaml (a minute)
	@scripts/compose-test

kubernetes-check: ## Validate packaging/kubernetes with the schemas of Kubernetes and kubectl
	@scripts/kubernetes-check

deb: ## Build the Debian package (target/debian/)
	@scripts/deb

deb-test: ## Install and purge it in a fresh Debian
	@scripts/deb-test

demo: setup build ## Run the tour with a temporary daemon
	@scripts/demo

test: setup ## Run all tests with real Postgres, real Docker and the images of all runtimes
	@scripts/images || echo "make test: tests that need a missing image will fail"
	cargo build --workspace --features rgridd/failpoints
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} scripts/with-postgres cargo test --workspace --features rgridd/failpoints

faults: setup ## Run the long fault tests (KILLS_ROUNDS=40 FAULTS_ROUNDS=5 FAULTS_SECONDS=1200; KILLS_SEED, FAULTS_SEED)
	cargo build --workspace --features rgridd/failpoints
	KILLS_ROUNDS=$${KILLS_ROUNDS:-40} scripts/with-postgres \
	  cargo test --features failpoints --test it faults::kill_rounds -- --nocapture
	FAULTS_ROUNDS=$${FAULTS_ROUNDS:-5} FAULTS_SECONDS=$${FAULTS_SECONDS:-1200} scripts/with-postgres \
	  cargo test --features failpoints --test it faults::fault_run -- --nocapture

check: ## Check format, lints and docs; must pass before each commit
	cargo fmt --all --check
	@scripts/lint
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace
	@scripts/check-extra --if-built

check-extra: ## Check licences and sources of all dependencies (builds cargo-deny once, which takes minutes)
	@scripts/check-extra

test-extra: setup ## Run the tests that need more: schemathesis, Chromium, promtool, three machines, an older build, images, packages
	cargo build --workspace
	@scripts/test-extra
	@scripts/extra-tools
	@scripts/older-rgridd
	@scripts/image
	@scripts/images postgres:17
	scripts/with-postgres cargo test --test extra -- --test-threads=1
	@scripts/kubernetes-check
	@scripts/compose-test
	@scripts/deb
	@scripts/deb-test

fuzz: ## Fuzz the parsers for a minute each
	@scripts/fuzz

sbom: ## List the components of the binaries as CycloneDX (target/sbom.cdx.json)
	@mkdir -p target
	@scripts/sbom >target/sbom.cdx.json
	@echo "target/sbom.cdx.json"

licences: ## List the licence of each crate in the binaries
	@scripts/sbom --licences

up: setup build ## Start this checkout's daemon in the background (data and log in .rgrid/)
	@scripts/daemon up

down: ## Stop that daemon; running scripts get 30 s to finish
	@scripts/daemon down

status: ## Show whether that daemon is running and ready
	@scripts/daemon status

migrate: build ## Show and apply pending migrations
	@scripts/daemon migrate status
	@scripts/daemon migrate up

migrate-upgrade: build ## Apply pending migrations
	@scripts/daemon migrate up

report: setup ## Run the acceptance stories and write docs/TIER2_TEST_REPORT.md
	@scripts/images || echo "make report: stories that need a missing image will fail"
	cargo build --workspace --features rgridd/failpoints
	scripts/with-postgres scripts/report

bench: setup ## Compare RGrid with docker run and a bare process; writes docs/benchmarks/ (10 minutes)
	cargo build --release -p rgridd -p rgrid-bench
	@scripts/bench

clean: ## Remove build outputs; keeps the data in .rgrid/
	cargo clean
