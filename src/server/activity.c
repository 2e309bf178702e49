/*
 * activity.c
 *		What a worker does at the moment, in words.
 *
 * For operators, who see it where it takes long.
 */
#include "postgres.h"

#include "server/activity.h"

const char *
shared_activity_name(SharedActivity activity)
{
	switch (activity)
	{
		case SHARED_IDLE:
			break;
		case SHARED_RECOVERING:
			return "recovering what an earlier worker left";
		case SHARED_RECORDING:
			return "recording answers";
		case SHARED_READING:
			return "reading the outbox";
		case SHARED_PLANNING:
			return "planning requests";
		case SHARED_TIDYING:
			return "deleting what is over its retention";
		case SHARED_COMMITTING:
			return "committing";
	}
	return NULL;
}
