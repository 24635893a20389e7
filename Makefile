# `make` lists the targets.

PREFIX ?= /usr
DESTDIR ?=
SYSCONFDIR ?= /etc
LOCALSTATEDIR ?= /var
CARGO ?= cargo

SBIN = $(DESTDIR)$(PREFIX)/sbin
BIN = $(DESTDIR)$(PREFIX)/bin
HELPERS = $(DESTDIR)$(PREFIX)/libexec/ctdb
ETC = $(DESTDIR)$(SYSCONFDIR)
STATE = $(DESTDIR)$(LOCALSTATEDIR)

# Every program is a package of its own name in bin/. All but the daemon and the tool are helpers.
PROGRAMS := $(notdir $(wildcard bin/*))
HELPER_PROGRAMS := $(filter-out ctdb ctdbd,$(PROGRAMS))

# Where the programs look for each other and for their files: compiled in. A plain `cargo build` has Debian's
# layout too, so that these are set only where they differ from it.
ifneq ($(PREFIX),/usr)
export CTDB_HELPERDIR = $(PREFIX)/libexec/ctdb
export CTDB_DATADIR = $(PREFIX)/share/ctdb
endif
ifneq ($(SYSCONFDIR),/etc)
export CTDB_ETCDIR = $(SYSCONFDIR)/ctdb
endif
ifneq ($(LOCALSTATEDIR),/var)
export CTDB_VARDIR = $(LOCALSTATEDIR)/lib/ctdb
export CTDB_LOGDIR = $(LOCALSTATEDIR)/log/ctdb
endif

.PHONY: help deps build test demo bench fuzz lint install uninstall clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

deps: ## Install what building and testing need, and unpack Debian's ctdb as a peer
	scripts/bootstrap --tests
	scripts/fetch-peer

build: ## Build all programs, optimised, into target/release
	scripts/bootstrap
	$(CARGO) build --locked --release --workspace --bins

test: ## Check style, build, run every test, list the skipped ones
	scripts/run-tests

demo: ## Build and watch a cluster of three nodes lose its leader and recover
	scripts/demo

bench: ## Measure our programs and Debian's in the same run; BENCH="--quick both"
	scripts/bootstrap --tests
	scripts/fetch-peer
	$(CARGO) build --locked --release --workspace --bins
	target/release/ctdb-bench $(BENCH)

fuzz: ## Feed each decoder with mutated input; FUZZ_SECONDS=60 for each
	scripts/fuzz

lint: ## Formatting, clippy and shellcheck only
	scripts/lint

install: build ## Install below DESTDIR with PREFIX, SYSCONFDIR, LOCALSTATEDIR
	install -d $(SBIN) $(BIN) $(HELPERS)
	install -m 755 target/release/ctdbd $(SBIN)/ctdbd
	install -m 755 target/release/ctdb $(BIN)/ctdb
	install -m 755 $(HELPER_PROGRAMS:%=target/release/%) $(HELPERS)/
	install -d $(ETC)/ctdb/events/legacy $(ETC)/ctdb/events/notification
	install -d -m 700 $(STATE)/lib/ctdb/volatile $(STATE)/lib/ctdb/persistent $(STATE)/lib/ctdb/state
	install -d $(STATE)/log/ctdb
	# An administrator's configuration is kept.
	test -e $(ETC)/ctdb/ctdb.conf || install -m 644 etc/ctdb/ctdb.conf $(ETC)/ctdb/ctdb.conf
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(ETC)/init.d $(ETC)/logrotate.d
	install -m 644 etc/systemd/ctdb.service $(DESTDIR)$(PREFIX)/lib/systemd/system/ctdb.service
	install -m 755 etc/init.d/ctdb $(ETC)/init.d/ctdb
	install -m 644 etc/logrotate.d/ctdb $(ETC)/logrotate.d/ctdb

uninstall: ## Remove the installed programs; configuration and databases stay
	rm -f $(SBIN)/ctdbd $(BIN)/ctdb $(HELPER_PROGRAMS:%=$(HELPERS)/%)
	rm -f $(DESTDIR)$(PREFIX)/lib/systemd/system/ctdb.service $(ETC)/init.d/ctdb $(ETC)/logrotate.d/ctdb
	rmdir $(HELPERS) 2>/dev/null || true

clean: ## Remove everything that was built or fetched
	$(CARGO) clean
