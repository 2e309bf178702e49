/*
 * window.h
 *		What a worker has in memory: chatbots, and the contacts taken up for them.
 *
 * A contact enters when its row is read and leaves when the row is settled; so a row that
 * is in here need not be looked for.
 */
#ifndef CONTACTS_PUSH_WINDOW_H
#define CONTACTS_PUSH_WINDOW_H

#include "chatbase/pacing.h"
#include "grouping/isolation.h"
#include "lib/ilist.h"
#include "nodes/pg_list.h"
#include "store/outbox_layout.h"
#include "util/ranges.h"
#include "utils/timestamp.h"
#include "worker/attributes.h"

/*
 * 20 contacts in a row, each alone and each refused in the same words, speak of a
 * fault of the chatbot and not of 20 contacts.
 */
#define REFUSALS_IN_A_ROW 20

struct Contact;
struct Request;

/* What a request asks for, and what contacts_push.request.call says of it. */
typedef enum RequestCall
{
	CALL_CREATE,
	CALL_UPDATE,
	CALL_DELETE,
	CALL_READ
} RequestCall;
#define CALLS (CALL_READ + 1)

/* Why a chatbot is paused, as far as it matters for ending the pause. */
typedef enum PauseKind
{
	PAUSE_NONE,
	PAUSE_KEY,					/* the key was refused, or there is none */
	PAUSE_CHATBOT,				/* 404, a redirect, an unknown status */
	PAUSE_QUOTA,				/* a 400 that speaks of a limit */
	PAUSE_REFUSALS,				/* REFUSALS_IN_A_ROW */
	PAUSE_FOREIGN				/* found in contacts_push.chatbot */
} PauseKind;

/* The contacts of a chatbot that are looked up there, and how far that is; see lookups.c. */
typedef struct Lookup
{
	dlist_head	contacts;		/* that are CONTACT_DOUBTFUL */
	int			n;
	int			not_at;			/* the server that has no such calls; 0: none is known */
	bool		had_turn;		/* the last request was a read */
	int			failures;		/* of reads, in a row */
	int64		answers;		/* the chatbot's when the last one failed */
	int64		answered_at;	/* clock_us() of the last usable answer to a read */
	bool		has_list;		/* there has been a page */
	bool		ask_list;		/* whether there are any is to be found out */
	int			total_pages;	/* as was last said */

	/* reading pages */
	bool		page_under_way;
	bool		is_reading;
	int64		round;			/* they are read for contacts of rounds up to this */
	int			low;			/* those from low to high have not been read yet */
	int			high;
	bool		from_end;		/* the next one is high, and not low */
	uint64		first_hash;		/* of the last page's first contact */
} Lookup;

typedef struct Chatbot
{
	char	   *id;
	char	   *id_utf8;
	uint64		seed;			/* of hashes of its contacts' texts, which nobody outside can foresee */
	bool		active;			/* in window_chatbots() */
	Isolation  *isolation;		/* of the contacts in the window */
	bool		due;			/* rows of another attempt are due and have not been read */
	TimestampTz due_after;		/* those up to here, and of this time up to due_after_seq, have */
	int64		due_after_seq;
	int64		next_due_at;	/* clock_us() when others will be; INT64_MAX: none */
	bool		reading[CALLS]; /* waiting, and nothing was passed over yet by the read under way */
	int			contacts;		/* in the window, but for those held and deferred */
	int			by_call[CALLS]; /* the same, by what is to be asked for next */
	int			unwritten;		/* changes in the write list of rows that are not WRITING */
	int			requests;		/* under way */
	int64		answers;		/* definite answers to some contact */
	bool		proven;			/* there have been such, to this worker or to one before */
	Lookup		lookup;

	/* contacts that change at Chatbase, each in a request of its own; see singles.c */
	bool		updates;		/* changes are pushed */
	bool		deletes;		/* and so are deletions */
	bool		switches_known; /* contacts_push.chatbot has been asked for the two */
	dlist_head	singles[CALLS]; /* of Contact, that wait, in the order of their seqs */
	char	  **members;		/* that contacts are sent with, by number; see members.c */
	int			nmembers;
	int			nmembers_written;
	bool		refuses_nulls;	/* what has gone cannot be cleared */
	dlist_head	conflicts;		/* of Contact, that wait for others to change; see conflicts.c */
	int64		changes;		/* contacts that have been changed or deleted */
	int			passed_over[CALLS]; /* departures of others while some waited */
	int64		singles_seen_at;	/* clock_us() when it last knew a call for one contact */
	int64		let_through;	/* deletions up to this seq are not held */
	int			held_deletes;	/* that wait for resume(); 0: none */
	bool		is_held;		/* no deletion may leave */
	bool		keyed_again;	/* those of keyed have been looked at twice */
	bool		is_stuck;		/* contacts wait for each other's keys: they are not waited for */
	bool		held_unwritten; /* contacts_push.chatbot does not say so yet */

	/* trouble */
	PacingBackoff backoff;
	int64		failed_at;		/* clock_us() of the last failure counted there */
	char	   *backoff_reason; /* of the last failure */
	bool		backoff_unwritten;	/* contacts_push.chatbot does not say so yet */
	int64		outage_since;	/* clock_us(); 0: it answers */
	int			batch_limit;	/* see pacing_batch() */
	int			max_bytes;		/* see pacing_bytes_succeeded() */
	PauseKind	pause;
	int64		paused_until;	/* clock_us(); INT64_MAX: until resume() */
	int			pauses;			/* in a row, of this worker's making */
	char	   *pause_reason;
	int64		paused_at;		/* clock_us() when it was decided on */
	bool		pause_unwritten;	/* contacts_push.chatbot does not say so yet */
	uint64		paused_with;	/* hash of the key and URL that led to it */

	/* refusals of single contacts, in a row and in the same words; see refusals.c */
	int			refusals;
	int			nheld;
	char	   *refusal;
	bool		refuse_all;		/* an operator says that they are meant */

	int64		tally[OUTBOX_STATUSES];	/* rows written since contacts_push_internal.tally has them */
	bool		attributes_changed; /* contacts_push.chatbot does not say so yet */
	bool		has_row;		/* in contacts_push.chatbot */
	uint64		key_hash;		/* of the key that was last looked up; 0: none was */

	/* What is large comes last: each pass looks at what is above, of all that are active. */
	Ranges		waiting[CALLS]; /* seqs of rows that were passed over, by what they seemed to ask for */
	Ranges		keyed;			/* of those that wait for another contact's key to change */
	struct Contact *held[REFUSALS_IN_A_ROW];	/* refused ones that are not written */
	Attributes	attributes;
} Chatbot;

/* What a contact in the window is; README.md says what moves it from one to the other. */
typedef enum ContactState
{
	CONTACT_QUEUED,				/* in its chatbot's isolation, singles or conflicts, to be sent */
	CONTACT_DOUBTFUL,			/* may exist; is looked up before it is sent again */
	CONTACT_IN_FLIGHT,			/* in a request; if that creates it, still in the isolation */
	CONTACT_HELD,				/* refused; in its chatbot's held */
	CONTACT_DEFERRED,			/* failed alone; its row says when it is due */
	CONTACT_WRITING				/* what became of it is in the write list */
} ContactState;
#define CONTACT_STATES (CONTACT_WRITING + 1)

/* What contacts that are under way at once must not share. */
typedef enum AddressKind
{
	ADDRESS_EMAIL,				/* in lower case */
	ADDRESS_PHONE				/* its digits */
} AddressKind;
#define ADDRESSES (ADDRESS_PHONE + 1)

typedef struct Address
{
	char	   *text;			/* NULL: none */
	uint64		hash;			/* of it and the chatbot */
	bool		is_queued;
	struct Contact *before;		/* in the queue of those that have it */
	struct Contact *behind;
} Address;

typedef struct Contact
{
	IsolationNode node;
	dlist_node	single;			/* in its chatbot's singles, or conflicts, while it waits there */
	RequestCall call;			/* what is to be asked for */
	char	   *previous;		/* external_id that it had at Chatbase; NULL: its own */
	bool		has_key;		/* it has its own by now */
	int64		seq;
	ItemPointerData tid;		/* where its row was last seen; invalid: not known */
	Chatbot    *chatbot;
	ContactState state;
	char	   *external_id;
	uint64		hash;			/* of it and the chatbot */
	char	   *external_id_utf8;
	bool		is_conflict;	/* in its chatbot's conflicts */
	int			conflicts;		/* that it has met */
	int64		changes;		/* of the chatbot's, when it left before the last of them */
	char	   *refusal;		/* what was said then */
	int64		missing_at;		/* clock_us() when it was, or its chatbot, which is to be asked; 0: not */
	bool		has_turn;		/* see window_take_turn() */
	Address		address[ADDRESSES];
	char	   *json;			/* UTF-8; NULL: it is deleted */
	int			length;
	char	   *cleared;		/* the same with nulls for what has gone; NULL: nothing has */
	char	   *gone;			/* which members these are, for people */
	bool		is_uncleared;	/* tried without the nulls, which may have been refused */
	bytea	   *members;		/* that it has, and those that it may keep; NULL: not known */
	bytea	   *kept;			/* the same if what has gone is not cleared */
	bool		illegible;		/* an answer that repeats it can't be read */
	bool		unconfirmed;
	bool		says_so;		/* its row, or what is to be written into it */
	bool		is_only_version;	/* that has been sent, as far as is known */
	bool		look_again;		/* it has got further intents meanwhile */
	uint64		attributes;		/* that it is sent with; see attributes.h */
	int			attempts;
	int			failures;		/* alone, charged or not, for its back-off */
	dlist_node	doubt;			/* CONTACT_DOUBTFUL: in its chatbot's lookup */
	int64		doubt_group;	/* of those that were sent together */
	int64		lookup_round;	/* from which on pages tell of it */
	int			lookups;		/* that did not find it */
	int64		read_failed_at; /* clock_us() when one that asked for it alone failed; 0: none has */
	int			losses;			/* of the answer to a request with it */
	int64		checked_at;		/* clock_us() when its row was last seen pending */
	int64		tried_at;		/* chatbot->answers when it failed alone; -1: has not */

	struct Request *request;	/* CONTACT_IN_FLIGHT in it; else NULL */
} Contact;

/* Makes the window, in the current memory context, which must outlive it. */
extern void window_create(void);

/* The chatbot, made if need be; it is active from now on. */
extern Chatbot *window_chatbot(const char *id);

/*
 * The active ones, of Chatbot *: all that anything is to be done for, now or at a time that
 * is known.  At the end of a pass those that nothing is known of leave the list.
 */
extern List *window_chatbots(void);
extern void window_rest(void);

/* Whether rows of the chatbot were passed over, and wait for being read again. */
extern bool window_has_passed_over(const Chatbot *chatbot);

/* All of them become active: something of theirs may have been changed by hand. */
extern void window_wake_all(void);

/* The chatbot has answered for some contact; and whether any has. */
extern void window_prove(Chatbot *chatbot);
extern bool window_any_proven(void);

/* attributes_of() for the chatbot. */
extern uint64 window_attributes(Chatbot *chatbot, JsonbContainer *contact);

/*
 * Takes a contact in, of which there must be none yet (see window_find_contact()); all
 * strings are copied.
 */
typedef struct NewContact
{
	int64		seq;
	ItemPointerData tid;
	Chatbot    *chatbot;
	RequestCall call;
	const char *previous;		/* or NULL */
	const char *external_id;
	const char *external_id_utf8;
	const char *address[ADDRESSES]; /* or NULL */
	const char *json;			/* or NULL for a row that is settled unsent, or withdraws */
	int			length;
	bool		illegible;
	bool		unconfirmed;
	int			attempts;
	uint64		attributes;
	const bytea *sent_members;	/* of what Chatbase has; NULL: not known */
	char	   *cleared;		/* as Contact has them; or NULL */
	char	   *gone;
	bytea	   *members;
	bytea	   *kept;
} NewContact;
extern Contact *window_add(const NewContact *new);

extern Contact *window_find(int64 seq);
extern Contact *window_find_contact(const Chatbot *chatbot, const char *external_id);
extern void window_remove(Contact *contact);

/* Something else is to be asked for a contact; it has left, or is to enter, its queue by itself. */
extern void window_set_call(Contact *contact, RequestCall call);

/* Moves a contact to another state; it has left, or is to enter, the isolation by itself. */
extern void window_move(Contact *contact, ContactState state);

/* True if there is room for one more that is CONTACT_DEFERRED. */
extern bool window_can_defer(const Contact *contact);

/* True of those that wait: CONTACT_QUEUED, CONTACT_DOUBTFUL or CONTACT_DEFERRED. */
static inline bool
window_is_waiting(const Contact *contact)
{
	return contact->state == CONTACT_QUEUED || contact->state == CONTACT_DOUBTFUL ||
		contact->state == CONTACT_DEFERRED;
}

/* The seqs of all that do, palloc'd; returns how many. */
extern int	window_waiting(int64 **seqs);

/* The lowest and highest seq of those that are not CONTACT_DEFERRED; false: there are none. */
extern bool window_bounds(int64 *low, int64 *high);

extern int64 window_bytes(void);

/*
 * Of contacts of one chatbot with one e-mail, the one that was enqueued first has it, so
 * they go one after the other in that order, whatever their neighbours; and so do those
 * with one phone number.  While it is CONTACT_QUEUED, _DOUBTFUL or _IN_FLIGHT a contact stands
 * in the queue of each.  Its turn is told by window_take_turn(): true if it is the first in both,
 * which it stays then, whoever comes, until window_end_turn().
 */
extern bool window_take_turn(Contact *contact);
extern void window_end_turn(Contact *contact);

/* A copy that lives as long as the window. */
extern char *window_strdup(const char *string);

#endif							/* CONTACTS_PUSH_WINDOW_H */
