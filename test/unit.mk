# Unit tests of what is plain C in src/: programs that print TAP, built without
# PostgreSQL and with the address and undefined-behaviour sanitizers.

UNIT_CFLAGS = -std=gnu11 -D_GNU_SOURCE -g -O1 -Wall -Wextra $(filter -Werror,$(COPT)) \
	-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
	-Isrc -Itest/unit $(shell $(PKG_CONFIG) --cflags $(PACKAGES))
UNIT_LIBS = $(shell $(PKG_CONFIG) --libs $(PACKAGES)) -lm -lpthread

# The folders that know no PostgreSQL.
PURE_SRCS = $(wildcard src/grouping/*.c src/chatbase/*.c src/util/*.c)
PURE_HDRS = $(wildcard src/grouping/*.h src/chatbase/*.h src/util/*.h)
PURE_OBJS = $(PURE_SRCS:src/%.c=build/unit/src/%.o)
UNIT_TESTS = $(patsubst test/unit/%.c,build/unit/%,$(wildcard test/unit/test_*.c))

build/unit/src/%.o: src/%.c $(PURE_HDRS)
	@mkdir -p $(@D)
	$(CC) $(UNIT_CFLAGS) -c -o $@ $<

build/unit/%: test/unit/%.c $(PURE_OBJS) $(PURE_HDRS) $(wildcard test/unit/*.h)
	@mkdir -p build/unit
	$(CC) $(UNIT_CFLAGS) -o $@ $< $(PURE_OBJS) $(UNIT_LIBS)

# Fuzz targets, run over what was found worth keeping.
FUZZ_TARGETS = $(patsubst test/fuzz/fuzz_%.c,%,$(wildcard test/fuzz/fuzz_*.c))
FUZZ_REPLAYS = $(FUZZ_TARGETS:%=build/unit/fuzz_%)

# Its allocations fail where the input says so.
build/unit/fuzz_isolation build/fuzz_isolation: FUZZ_LIBS = -Wl,--wrap=malloc,--wrap=calloc

build/unit/fuzz_%: test/fuzz/fuzz_%.c test/fuzz/fuzz.h $(PURE_OBJS) $(PURE_HDRS)
	@mkdir -p build/unit
	$(CC) $(UNIT_CFLAGS) -DREPLAY -o $@ $< $(PURE_OBJS) $(UNIT_LIBS) $(FUZZ_LIBS)

.PHONY: unit fuzz fake simulate
unit: $(UNIT_TESTS) $(FUZZ_REPLAYS)
	@failed=; for t in $(UNIT_TESTS); do echo "# $$t"; $$t || failed=1; done; \
	for t in $(FUZZ_TARGETS); do echo "# build/unit/fuzz_$$t"; \
		build/unit/fuzz_$$t test/fuzz/corpus_$$t/* || failed=1; done; test -z "$$failed"

# Looks for more, with clang's libFuzzer (Debian: clang, libclang-rt-dev).  What is new
# stays below build/; what fails is written to build/ and belongs into the corpus.
FUZZ_SECONDS ?= 60
build/fuzz_%: test/fuzz/fuzz_%.c test/fuzz/fuzz.h $(PURE_SRCS) $(PURE_HDRS)
	@mkdir -p build
	clang -std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=all -Isrc $(shell $(PKG_CONFIG) --cflags $(PACKAGES)) \
		-o $@ $< $(PURE_SRCS) $(UNIT_LIBS) $(FUZZ_LIBS)
fuzz: $(FUZZ_TARGETS:%=build/fuzz_%)
	@for t in $(FUZZ_TARGETS); do mkdir -p build/corpus_$$t && \
		build/fuzz_$$t -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=build/ \
			build/corpus_$$t test/fuzz/corpus_$$t || exit; done

fake:
	$(MAKE) -C test/fake_chatbase PKG_CONFIG='$(PKG_CONFIG)'

# Requests that isolation needs, beside the information limit.
build/simulate_isolation: bench/simulate_isolation.c $(wildcard src/grouping/*.[ch])
	@mkdir -p build
	$(CC) -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Isrc -o $@ $(filter %.c,$^) -lm
simulate: build/simulate_isolation
	build/simulate_isolation
