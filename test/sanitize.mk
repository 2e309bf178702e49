# make SANITIZE=1 builds the extension with the address and undefined-behaviour
# sanitizers and with its assertions; the server must be started with libasan preloaded
# (dev/test sanitize does it all).

SANITIZE_CFLAGS = -O1 -fno-omit-frame-pointer -fsanitize=address,undefined \
	-fno-sanitize-recover=all
PG_CPPFLAGS += -DUSE_ASSERT_CHECKING
PG_CFLAGS += $(SANITIZE_CFLAGS)
SHLIB_LINK += $(SANITIZE_CFLAGS) -Wl,--wrap=pfree
OBJS += test/sanitize/quarantine.o

# To be preloaded, too; see there.
all: test/sanitize/first.so
test/sanitize/first.so: test/sanitize/first.c
	$(CC) -O0 -shared -fPIC -Wl,-z,initfirst -o $@ $<
