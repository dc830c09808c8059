# Every job of the project. `make` lists them.

.DEFAULT_GOAL := help
.PHONY: help demo image test h2spec fuzz faults simulation check fmt lint deny bench bench-operations bench-upgrade setup schemas references

TOOLS := $(CURDIR)/target/tools

help: ## List the jobs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 20

demo: ## Build, start everything on this machine, deploy an example and open it (ONCE=1: check and stop)
	@deploy/dev/setup.sh demo
	cargo build --locked --workspace --bin cara-server --bin cara-agent --bin caractrl
	@deploy/dev/with-docker.sh deploy/dev/demo.sh

image: ## Make the container image (IMAGE=caravanserai:dev)
	@deploy/dev/setup.sh demo
	cargo build --locked --release -p cara-cli --bins
	@deploy/dev/with-docker.sh deploy/image.sh

test: ## Set up what is missing and run all tests
	@deploy/dev/setup.sh test
	cargo build --locked --workspace --bins
	@deploy/dev/with-docker.sh sh -c 'deploy/dev/images.sh test && cargo test --locked --workspace'

h2spec: ## Check HTTP/2 with h2spec
	@deploy/dev/setup.sh h2spec
	cargo test --locked --workspace --test filters -- h2spec

fuzz: ## Throw random input at parsers and matchers for a while (SECONDS_EACH=30)
	@deploy/dev/setup.sh fuzz
	@PATH="$(TOOLS)/bin:$$PATH" fuzz/run.sh

faults: ## Break everything while projects come and go (SEED=1 COUNT=200: the same again)
	@deploy/dev/setup.sh test
	cargo build --locked --workspace --bins
	@CARA_FAULT_SEED=$(SEED) CARA_FAULTS=$(COUNT) deploy/dev/with-docker.sh sh -c 'deploy/dev/images.sh test && cargo test --locked --workspace --test faults -- --nocapture $(if $(SEED)$(COUNT),storm)'

check: fmt lint deny test ## Everything that CI runs
	SECONDS_EACH=10 $(MAKE) fuzz

fmt: ## Check the formatting
	cargo fmt --all --check

lint: ## Check with clippy, warnings denied
	cargo clippy --locked --workspace --all-targets -- -D warnings

deny: ## Check licences, sources and walls between crates
	@deploy/dev/setup.sh deny
	PATH="$(TOOLS)/bin:$$PATH" cargo deny check bans licenses sources

bench: ## Measure the gateway beside others, with many routes, and the way from apply to the first answer
	@deploy/dev/setup.sh bench
	cargo build --locked --release -p cara-cli -p cara-bench --bins
	python3 -B bench/gateway.py target/release
	python3 -B bench/routes.py target/release 10000
	python3 -B bench/routes.py target/release 10000 1000
	python3 -B bench/routes.py target/release 100000 100
	HOSTS_OF_RULE=1 python3 -B bench/routes.py target/release 100000 100
	@deploy/dev/with-docker.sh bench/deploy.sh

bench-operations: ## Measure lost nodes, deletions, rollouts under load, and what the programs need at rest (8 minutes)
	@deploy/dev/setup.sh bench
	cargo build --locked --release -p cara-cli --bins
	python3 -B bench/operations.py target/release

bench-upgrade: ## Replace the server twice under 2,000 requests/s with open WebSockets (RATE=2000 SECONDS_EACH=30 UPGRADES=2)
	@deploy/dev/setup.sh bench
	cargo build --locked --release -p cara-cli -p cara-bench --bins
	python3 -B bench/upgrade.py target/release

simulation: ## Run the planners under SEEDS=10000 random histories from seed FIRST=0 on
	CARA_SIMULATION_FIRST=$(or $(FIRST),0) CARA_SIMULATION_SEEDS=$(or $(SEEDS),10000) cargo test --locked --profile simulation --workspace --test simulation -- --nocapture

references: ## Write docs/cli, deploy/man and the snapshots of what caractrl prints again
	UPDATE=1 cargo test --locked --workspace --test fresh -- command_reference man_pages
	UPDATE=1 cargo test --locked --workspace --lib snapshots

schemas: ## Write deploy/schemas, docs/configuration.md and the tables of docs/compatibility.md again
	UPDATE=1 cargo test --locked -p cara-tests --test fresh --test wire -- --skip replay --skip old_agent
