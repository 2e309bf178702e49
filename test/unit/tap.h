/*
 * tap.h
 *		Test Anything Protocol for the unit tests: ok() as often as needed, then
 *		"return done_testing();" from main().
 *
 * For programs of one source file.  Nothing but the C library may be needed here.
 */
#ifndef CONTACTS_PUSH_TAP_H
#define CONTACTS_PUSH_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int	tap_run;
static int	tap_failed;

/* A line of explanation; harnesses show it and attach no meaning to it. */
__attribute__((format(printf, 1, 2)))
static inline void
diag(const char *fmt,...)
{
	va_list		args;

	fflush(stdout);
	fputs("# ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

/* One test, named printf-like.  Returns whether it passed. */
__attribute__((format(printf, 2, 3)))
static inline bool
ok(bool passed, const char *fmt,...)
{
	va_list		args;

	tap_run++;
	if (!passed)
		tap_failed++;
	printf("%sok %d - ", passed ? "" : "not ", tap_run);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	return passed;
}

/* Passes if got equals expected; tells both if not. */
static inline bool
is_int(long long got, long long expected, const char *name)
{
	if (!ok(got == expected, "%s", name))
		diag("got %lld, expected %lld", got, expected);
	return got == expected;
}

/* The same for strings; NULL equals NULL only. */
static inline bool
is_str(const char *got, const char *expected, const char *name)
{
	bool		same = got && expected ? strcmp(got, expected) == 0 : got == expected;

	if (!ok(same, "%s", name))
		diag("got \"%s\", expected \"%s\"", got ? got : "(null)",
			 expected ? expected : "(null)");
	return same;
}

/* Prints the plan; returns what main() returns. */
static inline int
done_testing(void)
{
	printf("1..%d\n", tap_run);
	if (tap_run == 0)
		diag("no test was run");
	if (tap_failed > 0)
		diag("%d of %d failed", tap_failed, tap_run);
	return tap_run > 0 && tap_failed == 0 ? 0 : 1;
}

#endif							/* CONTACTS_PUSH_TAP_H */
