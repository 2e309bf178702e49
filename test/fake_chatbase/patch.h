/*
 * patch.h
 *		What an update makes of a contact.
 *
 * JSON in, JSON out: whether the result is valid, or another's, is not known here.
 */
#ifndef FAKE_CHATBASE_PATCH_H
#define FAKE_CHATBASE_PATCH_H

#include "batch.h"
#include "buffer.h"
#include "config.h"

/*
 * Adds the contact with what the body, {"data": {...}}, changes, as the body of a request that
 * would create it.  False: the body is no such thing, or has a null that is refused.
 */
extern bool patch_contact(Buffer *out, const Contact *contact, const char *body, size_t len,
						  const Config *config);

#endif							/* FAKE_CHATBASE_PATCH_H */
