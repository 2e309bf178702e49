/*
 * reply_time.h
 *		A time that is written as text.
 */
#ifndef CONTACTS_PUSH_REPLY_TIME_H
#define CONTACTS_PUSH_REPLY_TIME_H

#include <stdbool.h>

/*
 * Reads an ISO 8601 date and time (RFC 3339, and what is common beside it): a "T" or a
 * space between the two, seconds and their fraction optional, the zone "Z", +hh, +hhmm
 * or +hh:mm, UTC where there is none; a date alone is its midnight.  *seconds is since
 * 1970, UTC.  False: anything else, or no day of the years 1 to 9999.
 */
extern bool reply_time_read(const char *text, double *seconds);

#endif							/* CONTACTS_PUSH_REPLY_TIME_H */
