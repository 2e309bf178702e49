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

PKG_CONFIG ?= pkg-config
PACKAGES = libcurl json-c
PG_CPPFLAGS = -Isrc $(shell $(PKG_CONFIG) --cflags $(PACKAGES)) -DCONTACTS_PUSH_VERSION='"$(EXTVERSION)"'
# PGXS hides what is not PGDLLEXPORT since PostgreSQL 16 only.
PG_CFLAGS = -fvisibility=hidden
SHLIB_LINK = $(shell $(PKG_CONFIG) --libs $(PACKAGES))

EXTRA_CLEAN = build test/fake_chatbase/*.o test/sanitize/*.o test/sanitize/*.so

ifdef SANITIZE
include test/sanitize.mk
endif

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Everything depends on the headers; there are too few files to be choosier.
$(OBJS): $(wildcard src/*.h src/*/*.h) contacts_push.control

include test/unit.mk
