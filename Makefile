# Short names for what one does here. The work is in cargo and in hack/, which can be used directly.

.DEFAULT_GOAL := help
.PHONY: help tools build book check test test-node test-vault demo bench generate fmt clean-cache

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## install the programs of the test bed into the cache (see hack/README.md)
	hack/bed install

build: ## build the operator
	cargo build --locked --bins

book: ## build the documentation as a book with search, into target/book
	hack/book

check: ## format, lints, and the tests that need no server: under a minute once the dependencies are compiled
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --lib --bins --test tidy --test local --test memory

test: ## run every check: format, lints, unit tests, chart, and the tests on real servers
	hack/test

test-node: ## build a Kubernetes node into the cache, and run the operator on it: image, chart, pods; as root
	hack/node

test-vault: ## build HashiCorp Vault into the cache, and run on it the integration tests that ask a Vault
	hack/test-vault

demo: ## show the operator at work on real servers; KEEP=1 leaves everything up to play with
	KEEP='$(KEEP)' hack/demo

bench: ## measure memory and speed with 100, 1,000 and 10,000 connections on real servers; writes target/bench/index.html
	hack/bench

generate: ## write the generated files anew: CRDs, RBAC rules, tables in the docs
	cargo run --locked --quiet --bin crdgen -- .

fmt: ## format the code
	cargo fmt --all

clean-cache: ## remove the programs of the test bed from the cache
	hack/bed clean-cache
