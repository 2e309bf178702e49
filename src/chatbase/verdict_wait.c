/*
 * verdict_wait.c
 *		How long an answer says to wait, by its headers.
 *
 * Headers are foreign text: whatever they say, the wait is between nothing and an
 * hour.  Dates are read here rather than by strptime(), which depends on the
 * locale; no clock may enter.
 */
#include "chatbase/verdict.h"

#include <stddef.h>
#include <string.h>

/* As seconds since 1970 it is 2001: what is smaller counts from now. */
#define FIRST_TIME INT64_C(1000000000)

/* As seconds it would be the year 5138, as milliseconds it is 1973. */
#define FIRST_MILLISECONDS INT64_C(100000000000)

/* Far above any time in milliseconds: further digits make no difference. */
#define SATURATED INT64_C(1000000000000000)

static const char *const months[] = {
	"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
};
static const char *const days[] = {
	"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"
};
static const char *const long_days[] = {
	"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"
};

typedef struct Date
{
	int			year;
	int			month;			/* 0 to 11 */
	int			day;
	int			hour;
	int			minute;
	int			second;
} Date;

/* Steps over the text if it stands there. */
static bool
eat(const char **p, const char *text)
{
	size_t		len = strlen(text);

	if (strncmp(*p, text, len) != 0)
		return false;
	*p += len;
	return true;
}

/* The same for one of n names; *which is the index of that. */
static bool
eat_name(const char **p, const char *const *names, int n, int *which)
{
	for (int i = 0; i < n; i++)
	{
		if (eat(p, names[i]))
		{
			*which = i;
			return true;
		}
	}
	return false;
}

/* The same for a number of exactly so many digits. */
static bool
eat_digits(const char **p, int ndigits, int *value)
{
	*value = 0;
	for (int i = 0; i < ndigits; i++)
	{
		if (**p < '0' || **p > '9')
			return false;
		*value = *value * 10 + (*(*p)++ - '0');
	}
	return true;
}

static bool
eat_time(const char **p, Date *date)
{
	return eat_digits(p, 2, &date->hour) && eat(p, ":") &&
		eat_digits(p, 2, &date->minute) && eat(p, ":") &&
		eat_digits(p, 2, &date->second);
}

/* IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT */
static bool
eat_fixdate(const char **p, Date *date)
{
	int			weekday;

	return eat_name(p, days, 7, &weekday) && eat(p, ", ") &&
		eat_digits(p, 2, &date->day) && eat(p, " ") &&
		eat_name(p, months, 12, &date->month) && eat(p, " ") &&
		eat_digits(p, 4, &date->year) && eat(p, " ") &&
		eat_time(p, date) && eat(p, " GMT");
}

/* RFC 850: Sunday, 06-Nov-94 08:49:37 GMT, the year within its century */
static bool
eat_rfc850(const char **p, Date *date)
{
	int			weekday;

	return eat_name(p, long_days, 7, &weekday) && eat(p, ", ") &&
		eat_digits(p, 2, &date->day) && eat(p, "-") &&
		eat_name(p, months, 12, &date->month) && eat(p, "-") &&
		eat_digits(p, 2, &date->year) && eat(p, " ") &&
		eat_time(p, date) && eat(p, " GMT");
}

/* asctime: Sun Nov  6 08:49:37 1994 */
static bool
eat_asctime(const char **p, Date *date)
{
	int			weekday;

	return eat_name(p, days, 7, &weekday) && eat(p, " ") &&
		eat_name(p, months, 12, &date->month) && eat(p, " ") &&
		(eat(p, " ") ? eat_digits(p, 1, &date->day) : eat_digits(p, 2, &date->day)) &&
		eat(p, " ") && eat_time(p, date) && eat(p, " ") &&
		eat_digits(p, 4, &date->year);
}

static bool
is_leap(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* A leap second (60) is allowed, as RFC 9110 does. */
static bool
is_valid(const Date *date)
{
	static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int			last = month_days[date->month] + (date->month == 1 && is_leap(date->year));

	return date->day >= 1 && date->day <= last && date->hour <= 23 &&
		date->minute <= 59 && date->second <= 60;
}

/* Seconds since 1970 of a valid date, in the Gregorian calendar. */
static int64_t
to_seconds(const Date *date)
{
	static const int days_before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	int64_t		before = date->year - 1;
	int64_t		day;

	/* 719162 days from 0001-01-01 to 1970-01-01 */
	day = before * 365 + before / 4 - before / 100 + before / 400 - 719162;
	day += days_before[date->month] + (date->month > 1 && is_leap(date->year));
	day += date->day - 1;
	return ((day * 24 + date->hour) * 60 + date->minute) * 60 + date->second;
}

/*
 * RFC 9110, 5.6.7: a year of two digits that appears to be more than 50 years in
 * the future is the most recent one in the past that has these digits.
 */
static void
complete_year(Date *date, int64_t now)
{
	/* a year's mean length is near enough: it is the century that is wanted */
	int			this_year = 1970 + (int) (now / 31556952);

	date->year += this_year - this_year % 100;
	if (date->year > this_year + 50)
		date->year -= 100;
	else if (date->year <= this_year - 50)
		date->year += 100;
}

/* False: not an HTTP date in any of its forms, with nothing behind it. */
static bool
parse_date(const char *text, int64_t now, int64_t *seconds)
{
	Date		date;
	const char *p = text;

	if (!eat_fixdate(&p, &date))
	{
		p = text;
		if (eat_rfc850(&p, &date))
			complete_year(&date, now);
		else
		{
			p = text;
			if (!eat_asctime(&p, &date))
				return false;
		}
	}
	p += strspn(p, " \t");
	if (*p != '\0' || date.year < 1 || !is_valid(&date))
		return false;
	*seconds = to_seconds(&date);
	return true;
}

/* False: not a number of digits only.  One that is too large is SATURATED. */
static bool
parse_number(const char *text, int64_t *number)
{
	const char *p = text;

	for (*number = 0; *p >= '0' && *p <= '9'; p++)
	{
		if (*number < SATURATED)
			*number = *number * 10 + (*p - '0');
	}
	if (p == text)
		return false;
	if (*number > SATURATED)
		*number = SATURATED;
	p += strspn(p, " \t");
	return *p == '\0';
}

/* -1 for what is past, else at most VERDICT_MAX_WAIT. */
static int64_t
limit_wait(int64_t wait_ms)
{
	if (wait_ms < 0)
		return -1;
	return wait_ms < VERDICT_MAX_WAIT * INT64_C(1000) ? wait_ms :
		VERDICT_MAX_WAIT * INT64_C(1000);
}

static int64_t
wait_of_retry_after(const char *text, int64_t now)
{
	int64_t		number;

	if (text == NULL)
		return -1;
	text += strspn(text, " \t");
	if (parse_number(text, &number))
		return limit_wait(number * 1000);
	if (parse_date(text, now, &number))
		return limit_wait((number - now) * 1000);
	return -1;
}

static int64_t
wait_of_reset(const char *text, int64_t now)
{
	int64_t		number;

	if (text == NULL)
		return -1;
	text += strspn(text, " \t");
	if (!parse_number(text, &number))
		return -1;
	if (number < FIRST_TIME)
		return limit_wait(number * 1000);
	if (number < FIRST_MILLISECONDS)
		return limit_wait((number - now) * 1000);
	return limit_wait(number - now * 1000);
}

int64_t
verdict_wait_ms(const char *retry_after, const char *ratelimit_reset, int64_t now)
{
	int64_t		wait_ms = wait_of_retry_after(retry_after, now);

	return wait_ms >= 0 ? wait_ms : wait_of_reset(ratelimit_reset, now);
}
