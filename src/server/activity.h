/*
 * activity.h
 *		What a worker does at the moment.
 */
#ifndef CONTACTS_PUSH_ACTIVITY_H
#define CONTACTS_PUSH_ACTIVITY_H

/* What a worker does at the moment. */
typedef enum SharedActivity
{
	SHARED_IDLE,				/* it sleeps, or waits for answers */
	SHARED_RECOVERING,
	SHARED_RECORDING,
	SHARED_READING,
	SHARED_PLANNING,
	SHARED_TIDYING,
	SHARED_COMMITTING
} SharedActivity;

/* In words; NULL: SHARED_IDLE. */
extern const char *shared_activity_name(SharedActivity activity);

#endif							/* CONTACTS_PUSH_ACTIVITY_H */
