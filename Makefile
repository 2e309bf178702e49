# contacts_push/Makefile

EXTENSION = contacts_push
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" contacts_push.control)
MODULE_big = contacts_push
PGFILEDESC = "contacts_push - push contacts into Chatbase chatbots"

DATA = $(wildcard sql/contacts_push--*.sql)
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))

# Input of pg_regress is every file in sql/ that is not an extension script.
REGRESS = $(sort $(patsubst sql/%.sql,%,$(filter-out sql/contacts_push--%,$(wildcard sql/*.sql))))
REGRESS_OPTS = --inputdir=. --load-extension=plpgsql
ISOLATION = $(sort $(patsubst specs/%.spec,%,$(wildcard specs/*.spec)))
TAP_TESTS = 1

PG_CONFIG ?= pg_config
PKG_CONFIG ?= pkg-config
PACKAGES = libcurl json-c

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
PG_MAJOR := $(shell $(PG_CONFIG) --version 2>/dev/null | sed 's/^PostgreSQL \([0-9]*\).*/\1/')

# What is missing is named, by Debian's package, before a compiler or PGXS stumbles over it.
need = $(if $(strip $(1)),,$(error $(2)))
need_library = $(call need,$(shell $(PKG_CONFIG) --exists '$(1)' && echo yes),needs $(1): please install $(2))
$(call need,$(PGXS),cannot run $(PG_CONFIG): please install postgresql-server-dev-15 or later or say PG_CONFIG=PATH)
$(call need,$(shell [ "$(PG_MAJOR)" -ge 15 ] && echo yes),needs PostgreSQL 15 or later: please say PG_CONFIG=PATH)
$(call need,$(and $(wildcard $(PGXS)),$(wildcard $(shell $(PG_CONFIG) --includedir-server)/postgres.h)),$\
	needs the headers of the server: please install postgresql-server-dev-$(PG_MAJOR))
$(call need,$(shell command -v $(PKG_CONFIG)),cannot run $(PKG_CONFIG): please install pkg-config)
$(call need_library,libcurl >= 7.80,libcurl4-openssl-dev)
$(call need_library,json-c,libjson-c-dev)

PG_CPPFLAGS = -Isrc $(shell $(PKG_CONFIG) --cflags $(PACKAGES)) -DCONTACTS_PUSH_VERSION='"$(EXTVERSION)"'
# PGXS hides what is not PGDLLEXPORT since PostgreSQL 16 only.
PG_CFLAGS = -fvisibility=hidden
SHLIB_LINK = $(shell $(PKG_CONFIG) --libs $(PACKAGES))

EXTRA_CLEAN = build test/fake_chatbase/*.o test/sanitize/*.o test/sanitize/*.so

ifdef SANITIZE
include test/sanitize.mk
endif

include $(PGXS)

# Everything depends on the headers; there are too few files to be choosier.
$(OBJS): $(wildcard src/*.h src/*/*.h) contacts_push.control

include test/unit.mk
