/*
 * mapping.c
 *		The view of a watched table, compiled: makes contacts of rows.
 *
 * The columns of the view and its WHERE are expressions over one row.  They are planned and
 * initialised once and kept for the session, as plpgsql keeps its simple expressions, so
 * neither the executor nor SQL is between a row and its contact.  The server's cache of
 * planned expressions notices when a function or a type has changed; this file watches
 * relations and roles.  The rights to call functions are checked when an expression is
 * initialised, so a mapping belongs to one role.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/partition.h"
#include "catalog/pg_trigger.h"
#include "compat.h"
#include "contact/contact.h"
#include "enqueue/mapping.h"
#include "enqueue/view.h"
#include "enqueue/watched.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "optimizer/optimizer.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

/*
 * Expressions that are compiled together.  A withdrawal needs the first part only, and must
 * not fail because of the second.
 */
typedef struct Part
{
	List	   *expressions;	/* some may be NULL */
	MemoryContext context;		/* of the states; NULL: it was never compiled */
	CachedExpression *planned;	/* NULL: not compiled */
	bool		is_complete;	/* all of the states are there */
	ExprState  *states[VIEW_COLUMNS];	/* NULL where the expression is */
} Part;

/* The parts of a mapping, and what is where in the first. */
enum
{
	PART_KEY,
	PART_CONTENT,
	PARTS
};
enum
{
	KEY_WHERE,
	KEY_EXTERNAL_ID
};

typedef struct MappingKey
{
	Oid			trigger;
	Oid			relation;
	Oid			role;
} MappingKey;

struct Mapping
{
	MappingKey	key;
	Oid			view;
	Oid			table;
	bool		valid;			/* none of these has changed */
	bool		held;
	bool		is_private;		/* not in the cache */
	MemoryContext context;		/* of all of it */
	Part		parts[PARTS];
	AttrNumber *columns;		/* of the relation, that the expressions use: */
	int			nkeys;			/* first those of PART_KEY */
	int			ncolumns;
	AttrNumber	last_column;
	ExprContext *econtext;
};

typedef struct CacheEntry
{
	MappingKey	key;
	Mapping    *mapping;
} CacheEntry;

/* Mappings kept for a session, of some 20 kB each: a partition has three for each chatbot. */
#define MAX_MAPPINGS 1000

/* NULL: nothing has been mapped in this session yet. */
static HTAB *cache = NULL;

/* Counts invalidations, to notice those that come while a mapping is made. */
static uint64 invalidations = 0;

/* Marks the mappings that depend on a relation as invalid; InvalidOid: all of them. */
static void
invalidate(Oid relation)
{
	HASH_SEQ_STATUS scan;
	CacheEntry *entry;

	invalidations++;
	hash_seq_init(&scan, cache);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (!OidIsValid(relation) || entry->key.relation == relation ||
			entry->mapping->view == relation || entry->mapping->table == relation)
			entry->mapping->valid = false;
}

static void
relation_has_changed(Datum arg, Oid relation)
{
	invalidate(relation);
}

/* A role, its memberships or a schema has changed. */
static void
catalog_has_changed(Datum arg, int cache_id, uint32 hash_value)
{
	invalidate(InvalidOid);
}

static void
create_cache(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(MappingKey);
	control.entrysize = sizeof(CacheEntry);
	control.hcxt = TopMemoryContext;
	cache = hash_create("contacts_push mappings", 16, &control,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(relation_has_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, catalog_has_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, catalog_has_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, catalog_has_changed, (Datum) 0);
}

static void
free_mapping(Mapping *mapping)
{
	for (int i = 0; i < PARTS; i++)
		if (mapping->parts[i].planned)
			FreeCachedExpression(mapping->parts[i].planned);
	MemoryContextDelete(mapping->context);
}

/* Frees invalid mappings, or all that nobody holds where there are too many. */
static void
sweep(void)
{
	bool		all = hash_get_num_entries(cache) >= MAX_MAPPINGS;
	HASH_SEQ_STATUS scan;
	CacheEntry *entry;

	hash_seq_init(&scan, cache);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if ((all || !entry->mapping->valid) && !entry->mapping->held)
		{
			free_mapping(entry->mapping);
			hash_search(cache, &entry->key, HASH_REMOVE, NULL);
		}
}

static MappingKey
key_of(const Trigger *trigger, Relation relation)
{
	MappingKey	key = {trigger->tgoid, RelationGetRelid(relation), GetUserId()};

	return key;
}

Mapping *
contacts_push_mapping_find(const Trigger *trigger, Relation relation)
{
	MappingKey	key = key_of(trigger, relation);
	CacheEntry *entry;

	if (cache == NULL)
		return NULL;
	/* The statement may have begun before somebody replaced the view. */
	AcceptInvalidationMessages();
	entry = hash_search(cache, &key, HASH_FIND, NULL);
	return entry && entry->mapping->valid ? entry->mapping : NULL;
}

/* Finds the trigger that this one is a clone of, or itself, and the table that it was made on. */
static Oid
root_trigger(Oid trigger, Oid *table)
{
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	Oid			root = trigger;

	while (OidIsValid(trigger))
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(trigger));
		scan = systable_beginscan(triggers, TriggerOidIndexId, true, NULL, 1, &key);
		tuple = systable_getnext(scan);
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "could not find trigger %u", trigger);
		root = trigger;
		*table = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
		trigger = ((Form_pg_trigger) GETSTRUCT(tuple))->tgparentid;
		systable_endscan(scan);
	}
	table_close(triggers, AccessShareLock);
	return root;
}

/* Notes which columns of the relation the expressions use. */
static void
note_columns(Mapping *mapping, Relation relation, int varno)
{
	TupleDesc	desc = RelationGetDescr(relation);
	Bitmapset  *noted = NULL;

	mapping->columns = palloc(desc->natts * sizeof(AttrNumber));
	for (int part = 0; part < PARTS; part++)
	{
		Bitmapset  *used = NULL;

		pull_varattnos((Node *) mapping->parts[part].expressions, varno, &used);
		for (AttrNumber attnum = 1; attnum <= desc->natts; attnum++)
		{
			bool		uses = bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, used) ||
			(bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, used) &&
			 !TupleDescAttr(desc, attnum - 1)->attisdropped);

			if (!uses || bms_is_member(attnum, noted))
				continue;
			noted = bms_add_member(noted, attnum);
			mapping->columns[mapping->ncolumns++] = attnum;
			mapping->last_column = Max(mapping->last_column, attnum);
		}
		if (part == PART_KEY)
			mapping->nkeys = mapping->ncolumns;
	}
	bms_free(noted);
}

/* Reads the view into a mapping that is otherwise complete, in CurrentMemoryContext. */
static void
read_view(Mapping *mapping, Oid trigger, const char *name, Relation relation)
{
	Relation	view;
	ViewMapping *said;
	List	   *content = NIL;

	mapping->view = contacts_push_view_of_trigger(trigger, name, false);
	view = relation_open(mapping->view, AccessShareLock);
	said = contacts_push_view_read(view);
	if (said->table != mapping->table)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("view \"%s\" does not select from the watched table",
						RelationGetRelationName(view))));
	contacts_push_view_check_owner(view, mapping->table);
	mapping->parts[PART_KEY].expressions = list_make2(said->where, said->columns[VIEW_EXTERNAL_ID]);
	for (int i = VIEW_NAME; i < VIEW_COLUMNS; i++)
		content = lappend(content, said->columns[i]);
	mapping->parts[PART_CONTENT].expressions = content;
	if (mapping->table != RelationGetRelid(relation))
	{
		/* a partition's columns may have another order */
		Relation	table = table_open(mapping->table, AccessShareLock);

		for (int i = 0; i < PARTS; i++)
			mapping->parts[i].expressions =
				map_partition_varattnos(mapping->parts[i].expressions, said->varno, relation, table);
		table_close(table, AccessShareLock);
	}
	note_columns(mapping, relation, said->varno);
	/* no lock is kept: whoever replaces the view must not wait for writers */
	relation_close(view, AccessShareLock);
}

Mapping *
contacts_push_mapping_make(const Trigger *trigger, Relation relation)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "contacts_push mapping",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Mapping    *mapping = palloc0(sizeof(Mapping));
	CacheEntry *entry;
	bool		found;
	uint64		invalidations_before = invalidations;
	Oid			root;

	if (cache == NULL)
		create_cache();
	mapping->key = key_of(trigger, relation);
	mapping->context = context;
	mapping->econtext = CreateStandaloneExprContext();
	root = root_trigger(trigger->tgoid, &mapping->table);
	read_view(mapping, root, trigger->tgargs[WATCHED_VIEW], relation);
	MemoryContextSwitchTo(old);
	mapping->valid = invalidations == invalidations_before;

	sweep();
	MemoryContextSetParent(context, CacheMemoryContext);
	entry = hash_search(cache, &mapping->key, HASH_ENTER, &found);
	if (!found)
		entry->mapping = mapping;
	else if (!entry->mapping->held)
	{
		free_mapping(entry->mapping);
		entry->mapping = mapping;
	}
	else
		mapping->is_private = true;
	mapping->held = true;
	return mapping;
}

bool
contacts_push_mapping_hold(Mapping *mapping)
{
	bool		was_held = mapping->held;

	mapping->held = true;
	return !was_held;
}

void
contacts_push_mapping_release(Mapping *mapping)
{
	contacts_push_mapping_reset(mapping);
	mapping->held = false;
	if (mapping->is_private)
		free_mapping(mapping);
}

Oid
contacts_push_mapping_table(const Mapping *mapping)
{
	return mapping->table;
}

bool
contacts_push_mapping_is_readable(const Mapping *mapping)
{
	Oid			relation = mapping->key.relation;

	/* a warning must not tell what a policy hides */
	if (check_enable_rls(relation, InvalidOid, true) == RLS_ENABLED)
		return false;
	if (pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return true;
	for (int i = 0; i < mapping->ncolumns; i++)
		if (pg_attribute_aclcheck(relation, mapping->columns[i], GetUserId(),
								  ACL_SELECT) != ACLCHECK_OK)
			return false;
	return true;
}

/* Compares values bit by bit, out of line or not. */
static bool
is_same(TupleTableSlot *old, TupleTableSlot *new, AttrNumber attnum)
{
	Form_pg_attribute column = TupleDescAttr(old->tts_tupleDescriptor, attnum - 1);
	int			i = attnum - 1;

	if (old->tts_isnull[i] || new->tts_isnull[i])
		return old->tts_isnull[i] == new->tts_isnull[i];
	return datumIsEqual(old->tts_values[i], new->tts_values[i], column->attbyval, column->attlen) ||
		(column->attlen == -1 &&
		 datum_image_eq(old->tts_values[i], new->tts_values[i], column->attbyval, column->attlen));
}

MappingChange
contacts_push_mapping_compare(const Mapping *mapping, TupleTableSlot *old, TupleTableSlot *new)
{
	slot_getsomeattrs(old, mapping->last_column);
	slot_getsomeattrs(new, mapping->last_column);
	for (int i = 0; i < mapping->ncolumns; i++)
		if (!is_same(old, new, mapping->columns[i]))
			return i < mapping->nkeys ? MAPPING_KEY : MAPPING_CONTENT;
	return MAPPING_SAME;
}

/*
 * Has a part ready to be evaluated: planned and initialised, as the current user, which may
 * raise, and call functions.
 */
static Part *
compiled(Mapping *mapping, int which)
{
	Part	   *part = &mapping->parts[which];
	MemoryContext old;
	ListCell   *cell;
	int			i = 0;

	if (part->is_complete && part->planned->is_valid)
		return part;
	part->is_complete = false;
	if (part->planned)
		FreeCachedExpression(part->planned);
	part->planned = NULL;
	if (part->context == NULL)
		part->context = AllocSetContextCreate(mapping->context, "contacts_push expressions",
											  ALLOCSET_SMALL_SIZES);
	MemoryContextReset(part->context);
	part->planned = compat_cached_expression((Node *) part->expressions);
	old = MemoryContextSwitchTo(part->context);
	foreach(cell, (List *) part->planned->expr)
		part->states[i++] = lfirst(cell) ? ExecInitExpr(lfirst(cell), NULL) : NULL;
	MemoryContextSwitchTo(old);
	part->is_complete = true;
	return part;
}

/* Evaluates an expression of a part; false: its value is NULL, or there is none. */
static bool
evaluate(Mapping *mapping, Part *part, int i, Datum *value)
{
	bool		isnull;

	if (part->states[i] == NULL)
		return false;
	*value = ExecEvalExprSwitchContext(part->states[i], mapping->econtext, &isnull);
	return !isnull;
}

/* Throws unless a text of that length can be an external_id. */
static void
check_external_id(bool isnull, int length)
{
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION), errmsg("external_id is null")));
	if (length == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("external_id is empty")));
	if (length > CONTACT_MAX_EXTERNAL_ID)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("external_id has %d bytes, more than %d", length,
						CONTACT_MAX_EXTERNAL_ID)));
}

static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Takes the blanks around a text away; false: nothing is left. */
static bool
trim(Datum value, JsonbValue *trimmed)
{
	text	   *string = DatumGetTextPP(value);
	char	   *begin = VARDATA_ANY(string);
	char	   *end = begin + VARSIZE_ANY_EXHDR(string);

	while (begin < end && is_blank(*begin))
		begin++;
	while (begin < end && is_blank(end[-1]))
		end--;
	trimmed->type = jbvString;
	trimmed->val.string.val = begin;
	trimmed->val.string.len = end - begin;
	return begin < end;
}

static void
add_member(CompatJsonbState *state, ViewColumn column, JsonbValue *value)
{
	JsonbValue	key = {.type = jbvString};

	key.val.string.val = unconstify(char *, contacts_push_view_columns[column]);
	key.val.string.len = strlen(key.val.string.val);
	compat_push_jsonb(state, WJB_KEY, &key);
	compat_push_jsonb(state, WJB_VALUE, value);
}

/* Makes the ContactInput of the row in the expression context. */
static Datum
build_contact(Mapping *mapping, Datum external_id)
{
	/* as jsonb has them: it sorts what comes in order in no time */
	static const ViewColumn order[] = {
		VIEW_NAME, VIEW_EMAIL, VIEW_EXTERNAL_ID, VIEW_PHONENUMBER, VIEW_STRIPE_ACCOUNTS,
		VIEW_CUSTOM_ATTRIBUTES
	};
	Part	   *part = compiled(mapping, PART_CONTENT);
	MemoryContext old;
	CompatJsonbState state = {0};
	JsonbValue	value;
	Datum		datum;

	StaticAssertStmt(lengthof(order) == VIEW_COLUMNS, "a column is missing");
	old = MemoryContextSwitchTo(mapping->econtext->ecxt_per_tuple_memory);
	compat_push_jsonb(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < lengthof(order); i++)
	{
		if (order[i] == VIEW_EXTERNAL_ID)
		{
			value.type = jbvString;
			value.val.string.val = VARDATA_ANY(DatumGetPointer(external_id));
			value.val.string.len = VARSIZE_ANY_EXHDR(DatumGetPointer(external_id));
		}
		else if (!evaluate(mapping, part, order[i] - VIEW_NAME, &datum))
			continue;
		else if (order[i] >= VIEW_FIRST_JSON)
			JsonbToJsonbValue(DatumGetJsonbP(datum), &value);
		else if (!trim(datum, &value))
			continue;
		add_member(&state, order[i], &value);
	}
	compat_push_jsonb(&state, WJB_END_OBJECT, NULL);
	datum = JsonbPGetDatum(JsonbValueToJsonb(state.result));
	MemoryContextSwitchTo(old);
	return datum;
}

void
contacts_push_mapping_evaluate(Mapping *mapping, TupleTableSlot *slot, bool whole, MappedRow *row)
{
	Part	   *key = compiled(mapping, PART_KEY);
	MemoryContext old;
	Datum		value;
	bool		isnull;
	int			length = 0;

	Assert(mapping->held);
	mapping->econtext->ecxt_scantuple = slot;
	row->is_contact = key->states[KEY_WHERE] == NULL ||
		(evaluate(mapping, key, KEY_WHERE, &value) && DatumGetBool(value));
	row->external_id = row->contact = (Datum) 0;
	if (!row->is_contact)
		return;
	isnull = !evaluate(mapping, key, KEY_EXTERNAL_ID, &value);
	if (!isnull)
	{
		old = MemoryContextSwitchTo(mapping->econtext->ecxt_per_tuple_memory);
		row->external_id = PointerGetDatum(DatumGetTextPP(value));
		MemoryContextSwitchTo(old);
		length = VARSIZE_ANY_EXHDR(DatumGetPointer(row->external_id));
	}
	if (whole)
	{
		check_external_id(isnull, length);
		row->contact = build_contact(mapping, row->external_id);
	}
	else
		/* no such id has been enqueued, so none has to be withdrawn */
		row->is_contact = length > 0 && length <= CONTACT_MAX_EXTERNAL_ID;
}

bool
contacts_push_mapping_is_outdated(const Mapping *mapping)
{
	for (int i = 0; i < PARTS; i++)
		if (mapping->parts[i].planned && !mapping->parts[i].planned->is_valid)
			return true;
	return false;
}

void
contacts_push_mapping_reset(Mapping *mapping)
{
	ResetExprContext(mapping->econtext);
}
