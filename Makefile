# SPDX-License-Identifier: Apache-2.0
# `make help` says what there is. FLAVOUR=release|debug|asan|tsan|fuzz, WERROR=1, V=1, BUILD_ROOT=dir;
# CFLAGS and LDFLAGS of the user come last.
MAKEFLAGS += --no-builtin-rules --no-print-directory
SHELL := /bin/sh
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all

FLAVOUR ?= release
BUILD_ROOT ?= build
BUILD := $(BUILD_ROOT)/$(FLAVOUR)
VENV ?= build/venv
PREFIX ?= /usr/local
TARGET ?= h1
SECONDS ?= 60
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-4s %s\n' '$(1)' '$(2)';)
JOBS := $(shell nproc 2>/dev/null || echo 2)

# ---- Compiler and flags. Nothing here may fail on a machine that has only make: `make deps` runs from it.
CLANG := $(firstword $(foreach c,clang clang-19 clang-16 clang-15 clang-14,$(if $(shell command -v $(c) 2>/dev/null),$(c))) clang)
ifeq ($(origin CC),default)
CC := $(if $(filter fuzz,$(FLAVOUR)),$(CLANG),gcc)
endif
PKG_CONFIG ?= pkg-config
IS_CLANG := $(findstring clang,$(shell $(CC) --version 2>/dev/null))
IS_X86 := $(filter x86_64-% i%86-%,$(shell $(CC) -dumpmachine 2>/dev/null))

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
  -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wvla -Walloca \
  -Wformat=2 -Wswitch-enum -Wnull-dereference -Wdouble-promotion -Wfloat-conversion -Wconversion
ifdef IS_CLANG
WARN += -Wcast-align -Wimplicit-fallthrough -Wno-sign-conversion # clang: part of -Wconversion
else
WARN += -Wcast-align=strict -Wimplicit-fallthrough=5 -Wformat-signedness -Wduplicated-cond \
  -Wduplicated-branches -Wlogical-op -Wjump-misses-init
HARDEN_GCC := -ftrivial-auto-var-init=zero # clang accepts it from 16 on
endif
WARN += $(if $(WERROR),-Werror)
WARN_STRICT := -Wsign-conversion # for what reads bytes that others wrote
HARDEN := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection \
  $(if $(IS_X86),-fcf-protection=full) $(HARDEN_GCC)

FLAGS_release := -O2 $(HARDEN)
FLAGS_debug := -Og -fno-omit-frame-pointer
# What sanitizers insert makes gcc see null pointers where there are none.
FLAGS_asan := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -Wno-null-dereference
FLAGS_tsan := -O1 -fno-omit-frame-pointer -fsanitize=thread -Wno-null-dereference
FLAGS_fuzz := $(FLAGS_asan) -fsanitize=fuzzer-no-link
FLAGS := $(or $(FLAGS_$(FLAVOUR)),$(error FLAVOUR=$(FLAVOUR): expected release, debug, asan, tsan or fuzz))

# libev ships no .pc in Debian, and its macros break strict aliasing.
pc = $(or $(shell $(PKG_CONFIG) --libs $(1) 2>/dev/null),$(2))
LIBS := $(strip -lev $(call pc,openssl,-lssl -lcrypto) $(call pc,libcurl,-lcurl) $(call pc,jansson,-ljansson) \
  $(call pc,yaml-0.1,-lyaml) $(call pc,libxxhash,-lxxhash) $(call pc,libcares,-lcares) -lresolv -lm)
PC_CFLAGS := $(patsubst -I%,-isystem%,$(filter-out -I/usr/include%,$(shell \
  $(PKG_CONFIG) --cflags openssl libcurl jansson yaml-0.1 libxxhash libcares 2>/dev/null)))

CPPFLAGS_ALL := -D_GNU_SOURCE -I. -Iinclude $(PC_CFLAGS) $(CPPFLAGS)
CFLAGS_ALL := -std=c11 -g -fno-common -fno-strict-aliasing -fvisibility=hidden -fPIE -pthread \
  -ffile-prefix-map=$(CURDIR)=. $(WARN) $(FLAGS) $(CFLAGS)
LDFLAGS_ALL := -pie -Wl,--as-needed -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code $(LDFLAGS)

# ---- What there is to build: a new file is found, nothing is listed by hand.
SRCS := $(wildcard proxy/*/*.c discovery/*.c discovery/*/*.c config/*.c)
MAIN := proxy/run/main.c
UNIT := $(wildcard tests/unit/*.c tests/unit/*/*.c tests/unit/*/*/*.c tests/unit/*/*/*/*.c)
TESTS := $(foreach t,$(UNIT),$(if $(filter test_%,$(notdir $(t))),$(t)))
FUZZERS := $(wildcard tests/fuzz/fuzz_*.c)

LIB_OBJS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(MAIN),$(SRCS)))
SUPPORT_OBJS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(TESTS),$(UNIT)))
LIB := $(BUILD)/libsluiced.a
BINARY := $(BUILD)/sluiced
CANARIES := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/canary/*.c))
TEST_BINS := $(TESTS:%.c=$(BUILD)/%)
FUZZ_BINS := $(FUZZERS:%.c=$(BUILD)/%)

# Both stamps are written while parsing and only when they differ: a changed flag rebuilds all, a
# removed source the archive, and `make -n` stays honest.
NO_COMPILE := help clean distclean deps run test ci lint lint-test format tidy cppcheck fuzz fuzz-replay canary
ifneq ($(filter-out $(NO_COMPILE),$(or $(MAKECMDGOALS),all)),)
FLAGS_NOW := $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(WARN_STRICT) $(LDFLAGS_ALL) $(LIBS)
ifneq ($(strip $(file <$(BUILD)/flags)),$(strip $(FLAGS_NOW)))
$(shell mkdir -p $(BUILD))
$(file >$(BUILD)/flags,$(FLAGS_NOW))
endif
ifneq ($(strip $(file <$(BUILD)/sources)),$(strip $(SRCS) $(UNIT)))
$(file >$(BUILD)/sources,$(SRCS) $(UNIT))
endif
endif

.PHONY: all lib unit-bins fuzz-bins
all: $(if $(wildcard $(MAIN)),$(BINARY),$(LIB)) ## build the binary of FLAVOUR (build/release/sluiced)
lib: $(LIB)
unit-bins: $(TEST_BINS)
fuzz-bins: $(FUZZ_BINS)

$(LIB): $(LIB_OBJS) $(BUILD)/sources
	$(call say,AR,$@)rm -f $@ && ar rcsD $@ $(LIB_OBJS)

$(BUILD)/proxy/base/%.o $(BUILD)/proxy/proto/%.o: CFLAGS_ALL += $(WARN_STRICT)
$(BUILD)/%.o: %.c $(BUILD)/flags
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BINARY): $(MAIN:%.c=$(BUILD)/%.o) $(LIB)
	$(call say,LD,$@)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# What a test does not call is not linked: the archive gives only what is asked, the libraries too.
$(TEST_BINS): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(SUPPORT_OBJS) $(LIB)
	$(call say,LD,$@)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ -lcmocka $(LIBS)

# Broken on purpose: without the warnings that would say so.
$(CANARIES): $(BUILD)/%: %.c $(BUILD)/flags
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -w $(LDFLAGS_ALL) -o $@ $<

REPLAY_OBJ := $(if $(filter fuzz,$(FLAVOUR)),,$(BUILD)/tests/fuzz/replay.o)
$(FUZZ_BINS): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(REPLAY_OBJ) $(LIB)
	$(call say,LD,$@)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(if $(REPLAY_OBJ),,-fsanitize=fuzzer) -o $@ $^ $(LIBS)

-include $(LIB_OBJS:.o=.d) $(SUPPORT_OBJS:.o=.d) $(MAIN:%.c=$(BUILD)/%.d) $(TEST_BINS:%=%.d) \
  $(FUZZ_BINS:%=%.d) $(BUILD)/tests/fuzz/replay.d


# ---- Checks. Each target assumes `make deps`, but for run, test and ci, which call it.
.PHONY: deps run test unit canary integration kube chaos-short chaos soak soak-kube bench fuzz-replay fuzz lint lint-test format tidy \
  cppcheck ci install clean distclean help

PYTEST := VENV=$(VENV) BUILD_ROOT=$(BUILD_ROOT) .ci/pytest
SLUICED_ENV := SLUICED=$(abspath $(BINARY)) FLAVOUR=$(FLAVOUR)
C_FILES = $(shell find proxy discovery config include tests -path tests/kube -prune -o -name '*.[ch]' -print 2>/dev/null)
TIDY_FLAGS := -std=c11 -D_GNU_SOURCE -I. -Iinclude $(PC_CFLAGS)

deps: ## install what building and testing needs (Debian packages as root, Python packages in build/venv)
	$(Q)VENV=$(VENV) .ci/deps test

run: ## build, then show it at work: model emulators behind sluiced (ARGS=... for the demo)
	$(Q)VENV=$(VENV) .ci/deps build
	$(Q)$(MAKE) -j$(JOBS) all FLAVOUR=release
	$(Q)exec python3 tests/demo/run.py --binary $(BUILD_ROOT)/release/sluiced $(ARGS)

test: ## everything that must be green before a commit, from a clean clone
	$(Q)VENV=$(VENV) .ci/deps test
	$(Q)MAKE='$(MAKE)' JOBS=$(JOBS) BUILD_ROOT=$(BUILD_ROOT) VENV=$(VENV) .ci/test

ci: ## test, and what takes longer: clang, clang-tidy, cppcheck
	$(Q)VENV=$(VENV) .ci/deps ci
	$(Q)$(MAKE) lint
	$(Q)$(MAKE) -j$(JOBS) all unit-bins fuzz-bins WERROR=1 CC=$(CLANG) BUILD_ROOT=$(BUILD_ROOT)/clang
	$(Q)$(MAKE) tidy
	$(Q)$(MAKE) cppcheck
	$(Q)$(MAKE) test

unit: $(TEST_BINS) ## run the unit tests of FLAVOUR
	$(Q)FLAVOUR=$(FLAVOUR) .ci/unit $(TEST_BINS)

canary: ## prove that the sanitizers do bite: broken programs must fail
	$(Q)$(MAKE) FLAVOUR=asan $(BUILD_ROOT)/asan/tests/canary/use_after_free
	$(Q)$(MAKE) FLAVOUR=tsan $(BUILD_ROOT)/tsan/tests/canary/race
	$(Q).ci/canary $(BUILD_ROOT)

# Under TSan what threads meet in: publication, shared counters, handing over.
INTEGRATION := $(if $(filter tsan,$(FLAVOUR)),$(wildcard $(patsubst %,tests/integration/test_%.py,reload reload_storm \
  split health proxy)),tests/integration)
integration: all ## pytest against the binary of FLAVOUR (PYTEST_ARGS=...)
	$(Q)$(SLUICED_ENV) $(PYTEST) 'integration $(FLAVOUR)' $(INTEGRATION) -n 2 $(PYTEST_ARGS)

kube: all ## pytest against a real Kubernetes API server, built from its Go module at the first run
	$(Q)PYTEST_TIMEOUT_S=900 $(SLUICED_ENV) \
	    $(PYTEST) kube tests/kube $(PYTEST_ARGS)

chaos-short: all ## what faults of pods and of the network must not cost, in a minute and a half
	$(Q)$(SLUICED_ENV) $(PYTEST) chaos tests/chaos $(PYTEST_ARGS)

chaos: all ## each fault with sluiced, HAProxy and Envoy in turn, nine minutes (ARGS='--case kill', ARGS=--help)
	$(Q)$(SLUICED_ENV) $(VENV)/bin/python tests/chaos/run.py $(ARGS)

soak: all ## most of an hour of load: memory and descriptors must not grow
	$(Q)PYTEST_TIMEOUT_S=7200 $(SLUICED_ENV) $(PYTEST) soak tests/soak $(PYTEST_ARGS)
	$(Q)$(MAKE) soak-kube PYTEST_ARGS=

KUBE_LONG_TESTS := $(addprefix tests/kube/,test_property.py test_trouble.py test_pods.py bench_scale.py bench_fleet.py)
soak-kube: all ## the part of soak with a real API server: 1000 random sequences, long outages, what scale and a fleet cost
	$(Q)KUBE_LONG=1 PYTEST_TIMEOUT_S=7200 $(SLUICED_ENV) $(PYTEST) 'soak kube' $(KUBE_LONG_TESTS) $(PYTEST_ARGS)

bench: all ## sluiced beside HAProxy, nginx and Envoy in one session (ARGS='--quick', ARGS=--help)
	$(Q)$(SLUICED_ENV) $(VENV)/bin/python tests/bench/run.py $(ARGS)

fuzz-replay: ## run each fuzz target over its corpus, under the sanitizers
	$(Q)$(MAKE) -j$(JOBS) FLAVOUR=asan fuzz-bins
	$(Q).ci/replay $(BUILD_ROOT)/asan $(FUZZERS)

fuzz: ## search with libFuzzer: make fuzz TARGET=h1 SECONDS=60
	$(Q)$(MAKE) -j$(JOBS) FLAVOUR=fuzz $(BUILD_ROOT)/fuzz/tests/fuzz/fuzz_$(TARGET)
	$(Q)mkdir -p $(BUILD_ROOT)/fuzz/found/$(TARGET)
	$(Q)$(BUILD_ROOT)/fuzz/tests/fuzz/fuzz_$(TARGET) -max_total_time=$(SECONDS) \
	    -artifact_prefix=$(BUILD_ROOT)/fuzz/$(TARGET)- $(BUILD_ROOT)/fuzz/found/$(TARGET) tests/fuzz/corpus/$(TARGET)

lint: ## layers, banned calls, headers alone, format
	$(Q)CC='$(CC)' CLANG_FORMAT='$(or $(CLANG_FORMAT),$(VENV)/bin/clang-format)' python3 .ci/lint/lint.py

lint-test: ## the linter's own tests: each rule fires on a tree made to break it
	$(Q)$(PYTEST) lint tests/lint

format: ## clang-format 19.1.7 over all C files
	$(Q)$(or $(CLANG_FORMAT),$(VENV)/bin/clang-format) -i $(C_FILES)

tidy: ## clang-tidy over all C files
	$(Q)printf '%s\n' $(SRCS) | xargs -r -P $(JOBS) -n 1 sh -c 'out=$$($(VENV)/bin/clang-tidy --quiet \
	    --warnings-as-errors="*" "$$1" -- $(TIDY_FLAGS) 2>&1) || { printf "%s\n" "$$out"; exit 1; }' tidy

# uninitvar: it reads arguments from left to right and does not see that a call fills the one before; clang-tidy does.
cppcheck: ## cppcheck over all C files
	$(Q)cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --suppress=uninitvar -j $(JOBS) \
	    --error-exitcode=1 -D_GNU_SOURCE '-D__attribute__(x)=' -I. -Iinclude $(SRCS)

install: all ## to DESTDIR and PREFIX (/usr/local)
	$(Q)install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/sluiced

clean: ## remove what was compiled; the Python packages stay
	$(Q)rm -rf $(foreach f,release debug asan tsan fuzz clang,$(BUILD_ROOT)/$(f))

distclean: ## remove all of build/
	$(Q)rm -rf $(BUILD_ROOT) $(VENV)

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16
