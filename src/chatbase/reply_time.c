/*
 * reply_time.c
 *		A time that is written as text.
 *
 * The API page has times as numbers; servers that are compatible with it may write them
 * as JSON is usually written.  Foreign text: strptime() depends on the locale and lets
 * pass too much.  No clock may enter.
 */
#include "chatbase/reply_time.h"

#define MINUTE 60
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

/* The widest offset in ISO 8601's two digits that a zone has had is below this. */
#define MAX_OFFSET_HOURS 15

/* From 0001-01-01 to 1970-01-01 in the Gregorian calendar, days. */
#define DAYS_TO_1970 719162

/* Reads exactly so many digits, of a number between low and high. */
static bool
eat_number(const char **at, int digits, int low, int high, int *number)
{
	*number = 0;
	for (int i = 0; i < digits; i++)
	{
		if (**at < '0' || **at > '9')
			return false;
		*number = *number * 10 + (*(*at)++ - '0');
	}
	return *number >= low && *number <= high;
}

static bool
eat_char(const char **at, char expected)
{
	if (**at != expected)
		return false;
	(*at)++;
	return true;
}

static bool
eat_date(const char **at, double *seconds)
{
	static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
	int			year;
	int			month;
	int			day;
	int			years;
	int			length;
	bool		leap;

	if (!eat_number(at, 4, 1, 9999, &year) || !eat_char(at, '-') ||
		!eat_number(at, 2, 1, 12, &month) || !eat_char(at, '-') ||
		!eat_number(at, 2, 1, 31, &day))
		return false;
	leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	length = before[month] - before[month - 1] + (month == 2 && leap);
	if (day > length)
		return false;
	years = year - 1;
	*seconds = (double) DAY * (years * 365 + years / 4 - years / 100 + years / 400 - DAYS_TO_1970 +
							   before[month - 1] + (month > 2 && leap) + day - 1);
	return true;
}

/* A second may be the 60th: a leap second. */
static bool
eat_clock(const char **at, double *seconds)
{
	int			hour;
	int			minute;
	int			second = 0;
	double		digit = 1;

	if (!eat_number(at, 2, 0, 23, &hour) || !eat_char(at, ':') ||
		!eat_number(at, 2, 0, 59, &minute) ||
		(eat_char(at, ':') && !eat_number(at, 2, 0, 60, &second)))
		return false;
	*seconds += hour * HOUR + minute * MINUTE + second;
	if (!eat_char(at, '.') && !eat_char(at, ','))
		return true;
	if (**at < '0' || **at > '9')
		return false;
	for (; **at >= '0' && **at <= '9'; (*at)++)
		*seconds += (**at - '0') * (digit /= 10);
	return true;
}

static bool
eat_zone(const char **at, double *seconds)
{
	char		sign = **at;
	int			hours;
	int			minutes = 0;

	if (eat_char(at, 'Z') || eat_char(at, 'z') || (!eat_char(at, '+') && !eat_char(at, '-')))
		return true;
	if (!eat_number(at, 2, 0, MAX_OFFSET_HOURS, &hours))
		return false;
	if ((eat_char(at, ':') || **at != '\0') && !eat_number(at, 2, 0, 59, &minutes))
		return false;
	*seconds -= (sign == '-' ? -1 : 1) * (hours * HOUR + minutes * MINUTE);
	return true;
}

bool
reply_time_read(const char *text, double *seconds)
{
	const char *at = text;

	if (!eat_date(&at, seconds))
		return false;
	if ((eat_char(&at, 'T') || eat_char(&at, 't') || eat_char(&at, ' ')) &&
		(!eat_clock(&at, seconds) || !eat_zone(&at, seconds)))
		return false;
	return *at == '\0';
}
