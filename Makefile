# Everything that one does with this checkout. `make` alone says what there is.
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# rustup's folder, for shells that were opened before it was installed.
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: help setup images build image compose-test kubernetes-check deb deb-test demo test faults check check-extra test-extra fuzz sbom licences up down status migrate migrate-upgrade report bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing: compiler, Postgres, Docker, one Python image
	@scripts/setup

images: ## get the images of all runtimes (pulled, or built here when no registry can be reached)
	@scripts/images

build: ## build the daemon and the CLI (target/release/rgridd, target/release/rgrid)
	cargo build --release -p rgridd -p rgrid-cli

image: setup ## build the daemon's image, rgrid:latest (from a registry's base, or one made of Debian's packages)
	@scripts/image

compose-test: ## use that image and compose.yaml: the main job, a stop that drains, a restart (a minute)
	@scripts/compose-test

kubernetes-check: ## hold packaging/kubernetes against Kubernetes' schemas and kubectl
	@scripts/kubernetes-check

deb: ## build the Debian package (target/debian/)
	@scripts/deb

deb-test: ## install it in a fresh Debian, and purge it
	@scripts/deb-test

demo: setup build ## run the tour: a daemon, a few scripts, what came of them
	@scripts/demo

test: setup ## run all tests, against a real Postgres, a real Docker and all runtimes' images
	@scripts/images || echo "make test: the tests of what is missing will fail"
	cargo build --workspace --features rgridd/failpoints
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} scripts/with-postgres cargo test --workspace --features rgridd/failpoints

faults: setup ## the long fault run (FAULTS_ROUNDS=5 FAULTS_SECONDS=1200, FAULTS_SEED=… repeats one)
	FAULTS_ROUNDS=$${FAULTS_ROUNDS:-5} FAULTS_SECONDS=$${FAULTS_SECONDS:-1200} scripts/with-postgres \
	  cargo test --features failpoints --test it faults::fault_run -- --nocapture

check: ## what must pass before a commit: format, lints, docs
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace
	@scripts/check-extra --if-built

check-extra: ## licences, sources and bans of all dependencies (installs cargo-deny: minutes, once)
	@scripts/check-extra

test-extra: setup ## what needs more: schemathesis, Chromium, promtool (installs them), three machines, an older build, image, packages
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

fuzz: ## let the fuzzer at the parsers, a minute each
	@scripts/fuzz

sbom: ## what is in the binaries, as CycloneDX (target/sbom.cdx.json)
	@mkdir -p target
	@scripts/sbom >target/sbom.cdx.json
	@echo "target/sbom.cdx.json"

licences: ## the licence of each crate in the binaries
	@scripts/sbom --licences

up: setup build ## start the daemon of this checkout in the background (data and log in .rgrid/)
	@scripts/daemon up

down: ## stop that daemon; what runs has 30 s to end
	@scripts/daemon down

status: ## tell whether that daemon is up and ready
	@scripts/daemon status

migrate: build ## tell which migrations the database lacks, then apply them
	@scripts/daemon migrate status
	@scripts/daemon migrate up

migrate-upgrade: build ## apply the migrations that the database lacks
	@scripts/daemon migrate up

report: setup ## show each story of Tier 2 by its tests and its commands; writes docs/TIER2_TEST_REPORT.md
	@scripts/images || echo "make report: what needs a missing image will fail"
	cargo build --workspace --features rgridd/failpoints
	scripts/with-postgres scripts/report

bench: setup ## measure RGrid beside docker run and a bare process; writes docs/benchmarks/ (10 minutes)
	cargo build --release -p rgridd -p rgrid-bench
	@scripts/bench

clean: ## remove what was built; data in .rgrid/ stays
	cargo clean
