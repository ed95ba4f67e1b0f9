# SPDX-License-Identifier: Apache-2.0
# Toolroot. `make help` lists the targets.

VERSION  := 0.1.0
CC       ?= cc
SAN      ?=
COMMA    := ,
BUILD    ?= build$(if $(SAN),-$(subst $(COMMA),-,$(SAN)))$(if $(findstring clang,$(CC)),-clang)
PREFIX   ?= /usr/local
DESTDIR  ?=

# One static archive a folder; arrows only go down (design: layers).
MODULES  := worker frontend client executor cas rpc base
PKGS     := openssl libzstd uuid lmdb libmicrohttpd libseccomp inih libarchive jansson
LDLIBS   := -lgrpc -lgpr -lprotobuf-c -lssl -lcrypto -lzstd -luuid -llmdb \
	    -lmicrohttpd -lseccomp -linih -larchive -ljansson -lpthread

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wvla -Wconversion \
	    -Wstrict-prototypes -Wmissing-prototypes -Werror
OPT      ?= -O2 -g
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer \
	    -fno-sanitize-recover=undefined)
CPPFLAGS += -D_GNU_SOURCE -DTOOLROOT_VERSION='"$(VERSION)"' -I. \
	    -isystem $(BUILD)/protos $(if $(SAN),-DTOOLROOT_SANITIZE)
CFLAGS   += -std=c17 $(OPT) $(WARNINGS) -fno-strict-aliasing $(SANFLAGS)
# Generated code is not ours to keep free of warnings.
PROTO_CFLAGS := -std=gnu17 $(OPT) -w $(SANFLAGS)
LDFLAGS  += $(SANFLAGS)

# `make V=1` shows the commands.
Q        := $(if $(V),,@)
say       = $(if $(V),,@echo "  $(1) $(2)")

PROGRAM  := $(BUILD)/toolroot
all: $(PROGRAM) $(BUILD)/cargo-toolroot $(BUILD)/toolroot-rustc

include protos/protos.mk

SOURCES  := $(sort $(wildcard $(addsuffix /*.c,$(MODULES))))
HEADERS  := $(sort $(wildcard $(addsuffix /*.h,$(MODULES) protos)))
OBJECTS  := $(SOURCES:%.c=$(BUILD)/%.o)
ARCHIVES := $(MODULES:%=$(BUILD)/lib%.a) $(BUILD)/libprotos.a

$(BUILD)/%.o: %.c | $(PROTO_STAMP)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MD -MP -c -o $@ $<

define archive
$(BUILD)/lib$(1).a: $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(1)/*.c))
	@rm -f $$@
	$(call say,AR,$$@)
	$(Q)$(AR) rcs $$@ $$^
endef
$(foreach m,$(MODULES),$(eval $(call archive,$(m))))

$(PROGRAM): $(BUILD)/main.o $(ARCHIVES)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(ARCHIVES) \
	    -Wl,--end-group $(LDLIBS)

$(BUILD)/cargo-toolroot: $(PROGRAM)
	$(call say,LN,$@)
	$(Q)ln -sf toolroot $@

# Started for each call of a compiler: static where that can be, half the time.
SHIM_STATIC = $(if $(SAN),,$(if $(filter /%,$(shell \
    $(CC) -print-file-name=libc.a)),-static))
$(BUILD)/toolroot-rustc: $(BUILD)/rustc_shim.o $(BUILD)/libclient.a \
    $(BUILD)/libbase.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(SHIM_STATIC) -o $@ $^

# --- tests -----------------------------------------------------------------
# tests/unit/<module>/test_*.c links that module and what lies below it.
BELOW_base     :=
BELOW_protos   := base
BELOW_rpc      := protos base
BELOW_cas      := protos base
BELOW_executor := cas protos base
BELOW_client   := rpc cas protos base
BELOW_frontend := executor rpc cas protos base
BELOW_worker   := client rpc cas protos base
UNIT_SOURCES   := $(sort $(wildcard tests/unit/*/test_*.c))
UNIT_TESTS     := $(UNIT_SOURCES:%.c=$(BUILD)/%)
# The folder of a unit test names the module that it links.
unit_module     = $(notdir $(patsubst %/,%,$(dir $(1))))
unit_libraries  = $(patsubst %,$(BUILD)/lib%.a,$(call unit_module,$(1)) \
		  $(BELOW_$(call unit_module,$(1))))

.SECONDEXPANSION:
$(UNIT_TESTS): $(BUILD)/%: $(BUILD)/%.o $$(call unit_libraries,$$*)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) \
	    -Wl,--end-group $(LDLIBS) -lcmocka

# Plain programs that the system tests and benches use.
TOOL_SOURCES := $(sort $(wildcard tests/system/*.c tests/bench/*.c))
TOOLS        := $(TOOL_SOURCES:%.c=$(BUILD)/%)
$(TOOLS): $(BUILD)/%: $(BUILD)/%.o $(ARCHIVES)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(ARCHIVES) \
	    -Wl,--end-group $(LDLIBS)

export TSAN_OPTIONS = suppressions=$(CURDIR)/tests/tsan.supp
export ASAN_OPTIONS = detect_leaks=1
export LSAN_OPTIONS = suppressions=$(CURDIR)/tests/lsan.supp
export TOOLROOT = $(abspath $(PROGRAM))
export TOOLROOT_BUILD = $(abspath $(BUILD))

# How many tests run beside each other, unless JOBS says so; system tests wait
# for half of their time.
CORES       := $(shell nproc)
UNIT_JOBS   := $(or $(JOBS),$(CORES))
SYSTEM_JOBS := $(or $(JOBS),$(shell expr $(CORES) + 1))
# The longest first: it works while those that come next mostly wait.
longest_first = $(1) $(filter-out $(1),$(2))
UNIT   ?= $(call longest_first,$(BUILD)/tests/unit/cas/test_store_model,$(UNIT_TESTS))
SYSTEM ?= $(call longest_first,tests/system/48-cargo-large.sh,$(sort \
	  $(wildcard tests/system/[0-9]*.sh)))

# One after the other, also with -j: what is built needs the packages.
test: packages-test
	@$(MAKE) --no-print-directory -j$(UNIT_JOBS) unit
	@$(MAKE) --no-print-directory -j$(CORES) system
unit: $(UNIT)
	@JOBS=$(UNIT_JOBS) tests/unit/run $(UNIT)
# 30-sandbox runs some of the worker's unit tests once more, without root.
system: all $(TOOLS) $(filter $(BUILD)/tests/unit/worker/%,$(UNIT_TESTS))
	prove --jobs $(SYSTEM_JOBS) --timer --failures --comments --exec bash $(SYSTEM)
# tests/fuzz/fuzz_<name>.c with its seeds in tests/fuzz/corpus/<name>. What is
# found new stays in the build folder.
FUZZERS := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_SECONDS ?= 30
$(FUZZERS): $(BUILD)/%: $(BUILD)/%.o $(ARCHIVES)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $< \
	    -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LDLIBS)
fuzz:
	@$(MAKE) --no-print-directory CC=clang \
	    SAN=address,undefined,fuzzer-no-link fuzz-run
fuzz-run: $(FUZZERS)
	@for fuzzer in $(FUZZERS); do \
	    name=$${fuzzer##*/fuzz_}; mkdir -p $(BUILD)/corpus/$$name; \
	    $$fuzzer -max_total_time=$(FUZZ_SECONDS) -verbosity=0 \
		-print_final_stats=1 $(BUILD)/corpus/$$name \
		tests/fuzz/corpus/$$name || exit 1; \
	done
bench: all $(TOOLS)
	tests/bench/run

# --- care ------------------------------------------------------------------
ALL_C = $(SOURCES) $(HEADERS) $(wildcard protos/*.c) main.c rustc_shim.c \
	$(wildcard tests/*/*.c tests/*/*/*.c)
SCRIPTS = $(wildcard .ci/run tests/unit/run config/packages config/*.bash-completion \
	  tests/check-layers tests/*/*.sh)

format:
	clang-format -i $(ALL_C)
lint: check-headers check-layers check-style check-scripts tidy
# One target a file, so that -j works: `make -j2 -k tidy`.
TIDY = $(addprefix tidy/,$(SOURCES) main.c rustc_shim.c)
tidy: $(TIDY)
# Tests and tools are looked at by name: `make tidy/tests/unit/base/test_log.c`.
TIDY_TESTS = $(addprefix tidy/,$(wildcard tests/unit/*/*.c) $(TOOL_SOURCES))
$(TIDY) $(TIDY_TESTS): tidy/%: | $(PROTO_STAMP)
	@clang-tidy --quiet $* -- $(CPPFLAGS) -std=c17 2> /dev/null
check-scripts:
	@shellcheck $(SCRIPTS) && \
	    echo "check-scripts: $(words $(SCRIPTS)) scripts are clean"
check-style:
	@failed=0; for file in $(ALL_C); do \
	    clang-format $$file | cmp -s - $$file || \
		{ echo "$$file: make format"; failed=1; }; \
	done; [ $$failed = 0 ] && \
	    echo "check-style: $(words $(ALL_C)) files are in shape"
check-headers: | $(PROTO_STAMP)
	@for h in $(HEADERS); do \
	    $(CC) $(CPPFLAGS) $(CFLAGS) -Wno-pedantic -fsyntax-only -x c $$h || \
		exit 1; \
	done && echo "check-headers: $(words $(HEADERS)) headers stand alone"
check-layers:
	@tests/check-layers

# --- running, packages, installing ------------------------------------------
# Standard output is the server's: its line when it is ready.
run: packages-run
	@$(MAKE) --no-print-directory -j$(CORES) all >&2
	@$(PROGRAM) serve --capture-default $(ARGS)
packages:
	@config/packages build
packages-run:
	@config/packages build run
packages-test:
	@config/packages build run test
packages-lint:
	@config/packages build run test lint

install: all
	install -D -m 0755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/toolroot
	ln -sf toolroot $(DESTDIR)$(PREFIX)/bin/cargo-toolroot
	install -m 0755 $(BUILD)/toolroot-rustc \
	    $(DESTDIR)$(PREFIX)/bin/toolroot-rustc
	install -D -m 0644 docs/toolroot.1 \
	    $(DESTDIR)$(PREFIX)/share/man/man1/toolroot.1
	install -D -m 0644 config/toolroot.conf \
	    $(DESTDIR)$(PREFIX)/share/doc/toolroot/toolroot.conf
	install -D -m 0644 config/toolroot.bash-completion \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/toolroot
	for file in prometheus/toolroot.rules.yml grafana/toolroot.json; do \
	    install -D -m 0644 config/$$file \
		$(DESTDIR)$(PREFIX)/share/doc/toolroot/$${file##*/} || exit 1; \
	done
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in toolroot.service toolroot-worker.service \
	    toolroot-gc.service toolroot-gc.timer; do \
	    sed 's|/usr/local/bin|$(PREFIX)/bin|' config/systemd/$$unit > \
		$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit || exit 1; \
	done

uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/, bin/toolroot \
	    bin/cargo-toolroot bin/toolroot-rustc \
	    share/man/man1/toolroot.1 share/doc/toolroot/toolroot.conf \
	    share/doc/toolroot/toolroot.rules.yml \
	    share/doc/toolroot/toolroot.json \
	    share/bash-completion/completions/toolroot \
	    lib/systemd/system/toolroot.service \
	    lib/systemd/system/toolroot-worker.service \
	    lib/systemd/system/toolroot-gc.service \
	    lib/systemd/system/toolroot-gc.timer)
	rmdir $(DESTDIR)$(PREFIX)/share/doc/toolroot 2> /dev/null || true

clean:
	rm -rf build build-*

help:
	@echo 'make                 build $(PROGRAM) (CC=clang, OPT=-O3 as wanted)'
	@echo 'make run             install what is missing, build, serve'
	@echo 'make test            install what the tests need, run them all'
	@echo 'make unit|system     one half of the tests (UNIT=..., SYSTEM=...)'
	@echo 'make SAN=address,undefined test     or SAN=thread'
	@echo 'make bench           rates beside the bare limit of this machine'
	@echo 'make fuzz            each parser for FUZZ_SECONDS (30)'
	@echo 'make lint|format|check-headers|check-layers'
	@echo 'make install|uninstall PREFIX=/usr/local DESTDIR='

-include $(OBJECTS:.o=.d) $(BUILD)/main.d $(BUILD)/rustc_shim.d $(UNIT_TESTS:=.d) $(TOOLS:=.d) \
	$(FUZZERS:=.d)
.PHONY: all test unit system fuzz fuzz-run bench format lint tidy $(TIDY) \
	check-style check-headers check-layers check-scripts run packages packages-run \
	packages-test packages-lint install uninstall clean help
