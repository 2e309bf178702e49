/*
 * keys.c
 *		Contacts whose key has changed.
 *
 * The intent of the new key knows the old one.  Where Chatbase has the contact under that, and
 * nothing under the new one, it is changed there, and keeps what it is to Chatbase.  So of two keys
 * one waits for the other, in the order in which they were changed: what was to become of a
 * contact before its key is given away comes before that, and what the key's next owner wants
 * comes after it.  Where keys wait for each other in a circle they are not waited for, and each
 * contact is changed in its place.
 */
#include "postgres.h"

#include "compat.h"
#include "worker/keys.h"
#include "worker/writes.h"

/* What is to be done for a contact that had another key before. */
typedef enum KeyChange
{
	KEY_IS_FREE,				/* nothing is at Chatbase under that one */
	KEY_MOVES,					/* its contact gets the new one */
	KEY_WAITS					/* something is to be done for it first */
} KeyChange;

/* Those that are pending are decided on later; they are not to be lost meanwhile. */
static void
keep_waiting(const Situation *s)
{
	for (int i = 0; i < s->n; i++)
		if (s->intents[i].is_pending)
			ranges_add(&s->chatbot->keyed, s->intents[i].seq, s->intents[i].seq);
}

/*
 * The newest pending intent before seq that is to bring a contact under this key.  That is so
 * even if it is to be deleted after it, for the key may change again before.
 */
static const Intent *
find_arrival(const Situation *s, int64 seq)
{
	for (int i = s->n - 1; i >= 0; i--)
		if (s->intents[i].is_pending && s->intents[i].previous && s->intents[i].seq < seq)
			return &s->intents[i];
	return NULL;
}

void
keys_stop_waiting(void)
{
	ListCell   *cell;

	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		chatbot->is_stuck |= chatbot->keyed.n > 0;
	}
}

/* Who was waiting for the key is to be decided on. */
void
keys_tell_taker(const Situation *s)
{
	if (s->look->is_asked && s->taker)
		queue_look(s->chatbot, s->taker->other, false);
}

/*
 * Asks for the contact under the key that an intent has changed.  The key's other intents may
 * have to come first; then that contact is looked at, and tells when they are through.
 */
static KeyChange
ask_key(Situation *s, const Intent *moved, Intent *there)
{
	Look		look = {s->chatbot, moved->previous};
	Situation	key = {.look = &look, .chatbot = s->chatbot};
	bool		waits = window_find_contact(s->chatbot, moved->previous) != NULL;

	if (!waits)
	{
		char	   *external_id = moved->previous;

		key.n = situation_read(&s->chatbot->id, &external_id, 1, &key.intents);
		key.n = situation_leave_out_unsent(&look, NULL, key.intents, key.n);
		situation_survey(&key);
		if (s->chatbot->updates && s->there == NULL && key.there &&
			key.there->seq < moved->seq && key.there->source == moved->source)
		{
			*there = *key.there;
			return KEY_MOVES;
		}
		/* It is sent, deleted, or found out about. */
		waits = (s->there == NULL && key.newest && key.newest->withdrawal && key.there && s->chatbot->deletes) ||
			(key.there == NULL && key.open) ||
			(s->chatbot->updates && key.there == NULL && find_arrival(&key, moved->seq));
	}
	if (!waits || s->chatbot->is_stuck)
		return KEY_IS_FREE;
	queue_look_asked(s->chatbot, moved->previous);
	keep_waiting(s);
	return KEY_WAITS;
}

/* An intent whose contact is to get the key of another one, or its own content, at Chatbase. */
void
keys_load_changed(const Situation *s, const Intent *intent, const Intent *there, const char *previous)
{
	Load		load = {
		.seq = intent->seq, .call = CALL_UPDATE, .previous = unconstify(char *, previous),
		.sent_members = there->sent_members, .has_others = intent != s->newest
	};

	/* What was refused, or makes way for this one, may have been applied, if there was a doubt. */
	if (previous == NULL && !s->doubtful && !intent->unconfirmed)
		load.sent_hash = there->sent_hash;
	else if (previous == NULL && !intent->unconfirmed)
		writes_unconfirmed(s->chatbot, intent->seq, NULL, 0,
						   "an earlier change of it was sent, and may have been applied");
	queue_load(&load);
}

/*
 * The key goes to another contact: nothing else becomes of this one before.  If it is not
 * there, it may be about to be, by a change of its own key; else there is nothing to wait for.
 */
bool
keys_give(Situation *s)
{
	const Intent *arrival;
	Intent		there;

	if (s->taker == NULL || !s->chatbot->updates || s->chatbot->is_stuck)
		return false;
	if (s->there)
	{
		Contact    *contact = window_find_contact(s->chatbot, s->look->external_id);

		s->look->is_asked |= contact != NULL;
		if (contact)
			situation_drop(contact);
		keep_waiting(s);
		keys_tell_taker(s);
		return true;
	}
	arrival = find_arrival(s, s->taker->seq);
	switch (arrival ? ask_key(s, arrival, &there) : KEY_IS_FREE)
	{
		case KEY_WAITS:
			return true;
		case KEY_MOVES:
			keys_load_changed(s, arrival, &there, arrival->previous);
			keep_waiting(s);
			return true;
		case KEY_IS_FREE:
			break;
	}
	keys_tell_taker(s);
	return false;
}

/*
 * The contact that has the key is to be deleted before another one gets it: it does not become
 * that one.
 */
static bool
make_room(Situation *s)
{
	const Intent *withdrawal = NULL;

	if (s->there == NULL || s->taker || !s->chatbot->deletes)
		return false;
	for (int i = 0; i < s->n; i++)
		if (s->intents[i].is_pending && s->intents[i].withdrawal &&
			s->intents[i].seq > s->settled && s->intents[i].seq < s->moved->seq)
			withdrawal = &s->intents[i];
	if (withdrawal == NULL)
		return false;
	if (window_find(withdrawal->seq) == NULL)
		queue_load(&(Load) {.seq = withdrawal->seq, .call = CALL_DELETE, .has_others = true});
	keep_waiting(s);
	return true;
}

/*
 * What has got another key goes to Chatbase as it is, so that the contact there is changed;
 * what is newer follows.  True: that is all for now.
 */
bool
keys_change(Situation *s)
{
	Intent		there;

	if (s->moved == NULL)
		return false;
	if (make_room(s))
		return true;
	switch (ask_key(s, s->moved, &there))
	{
		case KEY_WAITS:
			return true;
		case KEY_IS_FREE:
			return false;
		case KEY_MOVES:
			break;
	}
	for (int i = 0; i < s->n; i++)
		if (s->intents[i].is_pending && s->intents[i].seq < s->moved->seq)
			situation_leave_unsent(s->look, &s->intents[i],
						 s->intents[i].withdrawal ? OUTBOX_WITHDRAWN : OUTBOX_SUPERSEDED, false, NULL);
	if (window_find(s->moved->seq) == NULL)
		keys_load_changed(s, s->moved, &there, s->moved->previous);
	keep_waiting(s);
	return true;
}
