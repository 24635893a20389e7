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
SCRIPTS = $(DESTDIR)$(PREFIX)/share/ctdb/events/legacy

# Every program is a package of its own name in bin/. All but the daemon and the tool are helpers.
PROGRAMS := $(notdir $(wildcard bin/*))
HELPER_PROGRAMS := $(filter-out ctdb ctdbd,$(PROGRAMS))

# Scripts: for operators, for other programs, in the configuration directory, and those of events.
OPERATOR_SCRIPTS := onnode ctdb_diagnostics
HELPER_SCRIPTS := ctdb_natgw ctdb_lvs ctdb_check_databases statd_callout statd_callout_helper
ETC_SCRIPTS := notify.sh debug-hung-script.sh debug_locks.sh ctdb-crash-cleanup.sh ctdb-backup-persistent-tdbs.sh \
	nfs-linux-kernel-callout statd-callout
EVENT_SCRIPTS := $(notdir $(wildcard etc/ctdb/events/legacy/*.script))
ENABLED_SCRIPTS := 00.ctdb 01.reclock 05.system 10.interface

# They are written with Debian's directories; $(call install_scripts,FROM,NAMES,TO) puts those of this installation in.
install_scripts = for name in $(2); do \
	sed -e 's|/usr/libexec/ctdb|$(PREFIX)/libexec/ctdb|g' -e 's|/usr/bin/ctdb|$(PREFIX)/bin/ctdb|g' \
		-e 's|/etc/ctdb|$(SYSCONFDIR)/ctdb|g' -e 's|/var/l\(ib\|og\)/ctdb|$(LOCALSTATEDIR)/l\1/ctdb|g' \
		$(1)/$$name >$(3)/$$name.new && chmod 755 $(3)/$$name.new && mv $(3)/$$name.new $(3)/$$name || exit 1; done

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

fuzz: ## Feed each decoder with mutated input; FUZZ_SECONDS=30 for each
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
	@$(call install_scripts,scripts,$(OPERATOR_SCRIPTS),$(BIN))
	@$(call install_scripts,scripts,$(HELPER_SCRIPTS),$(HELPERS))
	install -d $(SCRIPTS) $(ETC)/ctdb/nfs-checks.d
	@$(call install_scripts,etc/ctdb/events/legacy,$(EVENT_SCRIPTS),$(SCRIPTS))
	@$(call install_scripts,etc/ctdb,functions $(ETC_SCRIPTS),$(ETC)/ctdb)
	chmod 644 $(ETC)/ctdb/functions
	install -m 644 etc/ctdb/events/notification/* $(ETC)/ctdb/events/notification/
	for f in script.options nfs-checks.d/README $(patsubst etc/ctdb/%,%,$(wildcard etc/ctdb/nfs-checks.d/*.check)); do \
		test -e $(ETC)/ctdb/$$f || install -m 644 etc/ctdb/$$f $(ETC)/ctdb/$$f || exit 1; done
	# What an administrator has disabled since the first installation stays so.
	test -L $(ETC)/ctdb/events/legacy/00.ctdb.script || for name in $(ENABLED_SCRIPTS); do \
		ln -sf $(PREFIX)/share/ctdb/events/legacy/$$name.script $(ETC)/ctdb/events/legacy/ || exit 1; done
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(ETC)/init.d $(ETC)/logrotate.d
	install -m 644 etc/systemd/ctdb.service $(DESTDIR)$(PREFIX)/lib/systemd/system/ctdb.service
	install -m 755 etc/init.d/ctdb $(ETC)/init.d/ctdb
	install -m 644 etc/logrotate.d/ctdb $(ETC)/logrotate.d/ctdb

uninstall: ## Remove the installed programs; configuration and databases stay
	rm -f $(SBIN)/ctdbd $(BIN)/ctdb $(HELPER_PROGRAMS:%=$(HELPERS)/%)
	rm -f $(OPERATOR_SCRIPTS:%=$(BIN)/%) $(HELPER_SCRIPTS:%=$(HELPERS)/%) $(EVENT_SCRIPTS:%=$(SCRIPTS)/%)
	rm -f $(ETC)/ctdb/functions $(ETC_SCRIPTS:%=$(ETC)/ctdb/%)
	rm -f $(DESTDIR)$(PREFIX)/lib/systemd/system/ctdb.service $(ETC)/init.d/ctdb $(ETC)/logrotate.d/ctdb
	rmdir $(HELPERS) $(SCRIPTS) 2>/dev/null || true

clean: ## Remove everything that was built or fetched
	$(CARGO) clean
