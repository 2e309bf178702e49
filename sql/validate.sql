-- contacts_push.validate(): what the API's schema says of a ContactInput, and nothing else.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

CREATE TABLE contacts (n serial, contact jsonb);
\copy contacts (contact) FROM STDIN
{"external_id": "a"}
{"external_id": "a", "name": "", "email": "a@b", "phonenumber": "", "stripe_accounts": [], "custom_attributes": {}}
{"external_id": "a", "email": "a@b@c"}
{"external_id": "a", "email": " a b @ c "}
{"external_id": "a", "email": "ä@ö"}
{"external_id": "a", "stripe_accounts": [{"label": "main", "stripe_id": "cus_1"}, {"label": "x", "stripe_id": "cus_2", "stripe_email": "a@b"}]}
{"external_id": "a", "stripe_accounts": [{"label": "main", "stripe_id": "cus_1", "more": null}]}
{"external_id": "a", "custom_attributes": {"any": [1, null, {"a": true}]}}
{"external_id": "a", "unknown": null}
{"External_ID": "a", "external_id": " "}
null
1
"a"
true
[]
[{"external_id": "a"}]
{}
{"external_id": null}
{"external_id": ""}
{"external_id": 1}
{"external_id": true}
{"external_id": {}}
{"external_id": ["a"]}
{"external_id": "a", "name": null}
{"external_id": "a", "name": 1}
{"external_id": "a", "name": ["a"]}
{"external_id": "a", "email": null}
{"external_id": "a", "email": 1}
{"external_id": "a", "email": ""}
{"external_id": "a", "email": "@"}
{"external_id": "a", "email": "a"}
{"external_id": "a", "email": "a@"}
{"external_id": "a", "email": "@b"}
{"external_id": "a", "phonenumber": null}
{"external_id": "a", "phonenumber": 1}
{"external_id": "a", "stripe_accounts": null}
{"external_id": "a", "stripe_accounts": "cus_1"}
{"external_id": "a", "stripe_accounts": {"label": "main", "stripe_id": "cus_1"}}
{"external_id": "a", "stripe_accounts": [null]}
{"external_id": "a", "stripe_accounts": [[]]}
{"external_id": "a", "stripe_accounts": [{}]}
{"external_id": "a", "stripe_accounts": [{"label": "main"}]}
{"external_id": "a", "stripe_accounts": [{"stripe_id": "cus_1"}]}
{"external_id": "a", "stripe_accounts": [{"label": "main", "stripe_id": null}]}
{"external_id": "a", "stripe_accounts": [{"label": 1, "stripe_id": "cus_1"}]}
{"external_id": "a", "stripe_accounts": [{"label": "main", "stripe_id": "cus_1"}, {"label": "x", "stripe_id": "cus_2", "stripe_email": "none"}]}
{"external_id": "a", "stripe_accounts": [{"label": "main", "stripe_id": "cus_1", "stripe_email": null}]}
{"external_id": "a", "custom_attributes": null}
{"external_id": "a", "custom_attributes": []}
{"external_id": "a", "custom_attributes": "a"}
\.
\pset null none
SELECT contact, contacts_push.validate(contact) FROM contacts ORDER BY n;
\pset null ''

-- The stand-in, which has the same rules from the same page, agrees.
CREATE FUNCTION answer(contact jsonb, chatbot text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM chatbase_create_contacts(chatbot, jsonb_build_array(contact));
	RETURN 'created';
EXCEPTION WHEN invalid_parameter_value THEN
	RETURN 'refused';
END
$$;
SELECT answer(contact, 'validate ' || n) AS answer, contacts_push.validate(contact) IS NULL AS valid, count(*)
FROM contacts GROUP BY 1, 2 ORDER BY 1, 2;

SELECT contacts_push.validate(NULL) IS NULL AS null_for_null;

DROP FUNCTION answer;
DROP TABLE contacts;
