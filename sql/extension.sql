-- CREATE EXTENSION: what the contract names is there, every object has a comment,
-- nothing is granted to PUBLIC, and pg_dump carries what it should.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

CREATE VIEW objects AS
	SELECT d.classid, d.objid, i.type, i.schema, i.identity
	FROM pg_depend d
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
	CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) i
	LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
	LEFT JOIN pg_class c ON c.oid = t.typrelid
	WHERE e.extname = 'contacts_push' AND d.deptype = 'e'
	-- from PostgreSQL 17 on, types that come with a relation or another type are members, too
	AND COALESCE(c.relkind, 'c') = 'c' AND COALESCE(t.typcategory, 'X') <> 'A';

-- Every object, with what belongs to it: columns, triggers, indexes other than a constraint's.
CREATE VIEW parts AS
	SELECT classid, objid, 0 AS objsubid FROM objects
	UNION ALL
	SELECT o.classid, o.objid, a.attnum
	FROM objects o
	JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid AND c.relkind IN ('r', 'v')
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	UNION ALL
	SELECT 'pg_class'::regclass, a.attrelid, a.attnum
	FROM objects o
	JOIN pg_type t ON o.classid = 'pg_type'::regclass AND t.oid = o.objid
	JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	UNION ALL
	SELECT 'pg_class'::regclass, x.indexrelid, 0
	FROM objects o
	JOIN pg_index x ON o.classid = 'pg_class'::regclass AND x.indrelid = o.objid
	WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = x.indexrelid)
	UNION ALL
	SELECT 'pg_trigger'::regclass, t.oid, 0
	FROM objects o
	JOIN pg_trigger t ON o.classid = 'pg_class'::regclass AND t.tgrelid = o.objid AND NOT t.tgisinternal;
SELECT count(*) > 100 AS many FROM parts;
SELECT i.type, i.identity
FROM parts p
CROSS JOIN LATERAL pg_identify_object(p.classid, p.objid, p.objsubid) i
WHERE COALESCE(CASE WHEN p.objsubid > 0 THEN col_description(p.objid, p.objsubid)
	ELSE obj_description(p.objid, p.classid::regclass::name) END, '') = ''
ORDER BY 1, 2;

-- What PUBLIC may do with any of them.
SELECT o.type, o.identity, a.privilege_type
FROM objects o
LEFT JOIN pg_proc f ON o.classid = 'pg_proc'::regclass AND f.oid = o.objid
LEFT JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid
LEFT JOIN pg_type t ON o.classid = 'pg_type'::regclass AND t.oid = o.objid
LEFT JOIN pg_namespace n ON o.classid = 'pg_namespace'::regclass AND n.oid = o.objid
CROSS JOIN LATERAL aclexplode(CASE
	WHEN f.oid IS NOT NULL THEN COALESCE(f.proacl, acldefault('f', f.proowner))
	WHEN c.oid IS NOT NULL THEN COALESCE(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
	WHEN t.oid IS NOT NULL THEN COALESCE(t.typacl, acldefault('T', t.typowner))
	WHEN n.oid IS NOT NULL THEN COALESCE(n.nspacl, acldefault('n', n.nspowner)) END) a
WHERE a.grantee = 0
ORDER BY 1, 2, 3;
-- No kind of object that the query above doesn't know.
SELECT DISTINCT type FROM objects
WHERE classid NOT IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_type'::regclass, 'pg_namespace'::regclass, 'pg_cast'::regclass);

-- Where they are: the calls follow the extension's schema, the others don't.
SELECT DISTINCT schema FROM objects WHERE schema <> 'contacts_push' ORDER BY schema;
SELECT identity FROM objects WHERE schema = 'public' ORDER BY identity COLLATE "C";
SELECT extrelocatable FROM pg_extension WHERE extname = 'contacts_push';
-- Functions in SQL that look something up do so along a path of their own.
SELECT p.oid::regprocedure::text AS function
FROM objects o
JOIN pg_proc p ON o.classid = 'pg_proc'::regclass AND p.oid = o.objid
JOIN pg_language l ON l.oid = p.prolang
WHERE l.lanname IN ('sql', 'plpgsql') AND p.prosqlbody IS NULL
AND NOT EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s LIKE 'search_path=pg_catalog, pg_temp')
ORDER BY 1;
SELECT p.oid::regprocedure::text AS function
FROM objects o
JOIN pg_proc p ON o.classid = 'pg_proc'::regclass AND p.oid = o.objid
WHERE p.prosecdef;

-- The contract's functions, types and tables.
SELECT p.oid::regproc || '(' || pg_get_function_arguments(p.oid) || ')' AS function, pg_get_function_result(p.oid) AS result
FROM pg_proc p
WHERE p.oid::regproc::text IN ('chatbase_create_contacts', 'contacts_push.watch', 'contacts_push.unwatch',
	'contacts_push.backfill', 'contacts_push.missing',
	'contacts_push.enqueue', 'contacts_push.flush', 'contacts_push.validate')
ORDER BY 1;
SELECT enumlabel FROM pg_enum WHERE enumtypid = 'contacts_push.status'::regtype ORDER BY enumsortorder;
SELECT attname, format_type(atttypid, atttypmod) AS type
FROM pg_attribute WHERE attrelid = 'contacts_push.contact'::regclass AND attnum > 0 ORDER BY attnum;
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null, a.attidentity AS identity, pg_get_expr(d.adbin, d.adrelid) AS "default"
FROM pg_attribute a
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = 'contacts_push.outbox'::regclass AND a.attnum > 0 ORDER BY a.attnum;
SELECT indisunique, indisprimary, pg_get_indexdef(indexrelid)
FROM pg_index WHERE indrelid = 'contacts_push.outbox'::regclass ORDER BY 3;
SELECT attname, format_type(atttypid, atttypmod) AS type
FROM pg_attribute
WHERE attrelid = 'contacts_push.request'::regclass AND attnum > 0 ORDER BY attnum;

-- pg_dump: all of the outbox, but of the requests only those that aren't over.
SELECT c.oid::regclass::text AS relation, d.condition
FROM pg_extension e
CROSS JOIN LATERAL unnest(e.extconfig, e.extcondition) AS d(oid, condition)
JOIN pg_class c ON c.oid = d.oid
WHERE e.extname = 'contacts_push'
AND c.oid IN ('contacts_push.outbox'::regclass, 'contacts_push.chatbot'::regclass, 'contacts_push.request'::regclass,
	'contacts_push.outbox_seq_seq'::regclass, 'contacts_push.request_id_seq'::regclass)
ORDER BY 1;

DROP VIEW parts, objects;

-- It can go and come, and goes where it is told to.
DROP EXTENSION contacts_push;
SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'contacts_push%';
CREATE SCHEMA elsewhere;
CREATE EXTENSION contacts_push SCHEMA elsewhere;
SELECT external_id FROM elsewhere.chatbase_create_contacts('bot', '{"external_id": "a"}');
SELECT to_regproc('public.chatbase_create_contacts') AS public;
DROP EXTENSION contacts_push;
DROP SCHEMA elsewhere;

-- Nobody gets anything by default privileges either: pg_monitor has what the extension gives it.
CREATE ROLE regress_contacts_push_default;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, regress_contacts_push_default;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC, regress_contacts_push_default;
ALTER DEFAULT PRIVILEGES GRANT ALL ON ROUTINES TO regress_contacts_push_default WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO PUBLIC, regress_contacts_push_default;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO PUBLIC, regress_contacts_push_default;
CREATE EXTENSION contacts_push;
SELECT kind, count(*) > 0 AS some, array_agg(DISTINCT pg_get_userbyid(grantee)) FILTER (WHERE grantee <> owner) AS grantees
FROM (
	SELECT 'relation', relowner, (aclexplode(COALESCE(relacl, acldefault('r', relowner)))).grantee
	FROM pg_class WHERE relkind IN ('r', 'v', 'S') AND relnamespace::regnamespace::text LIKE 'contacts_push%'
	UNION ALL
	SELECT 'routine', proowner, (aclexplode(COALESCE(proacl, acldefault('f', proowner)))).grantee
	FROM pg_proc WHERE pronamespace::regnamespace::text LIKE 'contacts_push%' OR proname LIKE 'chatbase%'
	UNION ALL
	SELECT 'type', typowner, (aclexplode(COALESCE(typacl, acldefault('T', typowner)))).grantee
	FROM pg_type WHERE oid IN ('contacts_push.status'::regtype, 'contacts_push.contact'::regtype)
	UNION ALL
	SELECT 'schema', nspowner, (aclexplode(COALESCE(nspacl, acldefault('n', nspowner)))).grantee
	FROM pg_namespace WHERE nspname LIKE 'contacts_push%'
) AS a(kind, owner, grantee)
GROUP BY kind ORDER BY kind;
DROP EXTENSION contacts_push;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC, regress_contacts_push_default;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM PUBLIC, regress_contacts_push_default;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON ROUTINES FROM regress_contacts_push_default;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM regress_contacts_push_default;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM PUBLIC, regress_contacts_push_default;
DROP ROLE regress_contacts_push_default;

-- Its schema has to be its own.
CREATE SCHEMA contacts_push;
\set VERBOSITY terse
CREATE EXTENSION contacts_push;
\set VERBOSITY default
DROP SCHEMA contacts_push;
