# shellcheck shell=bash
#
# dev/demo_live.sh
#	dev/demo --live: five marked contacts into a real chatbot.  To be sourced,
#	by dev/demo.
#
# Needs CHATBASE_API_KEY and CHATBASE_CHATBOT_ID, and a terminal to say yes on.
# The key goes from the environment into a key file and nowhere else: not into
# an argument, a setting or the environment of a server.

live_contacts=5

# Ends the script with status 2 unless everything is there for it.
live_require()
{
	if [ -z "${CHATBASE_API_KEY:-}" ] || [ -z "${CHATBASE_CHATBOT_ID:-}" ]; then
		echo "dev/demo --live needs CHATBASE_API_KEY and CHATBASE_CHATBOT_ID in the environment." >&2
		exit 2
	fi
	if ! [ -t 0 ] || ! [ -t 1 ]; then
		echo "dev/demo --live asks before it sends, and so needs a terminal." >&2
		exit 2
	fi
}

live_confirm()
{
	local answer

	echo "This creates $live_contacts contacts in the chatbot $CHATBASE_CHATBOT_ID, named"
	echo "\"contacts_push demo 1\" to \"contacts_push demo $live_contacts\".  They stay there until you delete them."
	read -r -p "Go on? [y/N] " answer || answer=
	if [[ $answer != [yY] && $answer != [yY][eE][sS] ]]; then
		echo "Nothing was sent."
		exit 2
	fi
}

# live_key_file KEY: prints the path of a file with KEY, which nobody but the
# server's user can read.
live_key_file()
{
	local file=$WORK/api_key

	# There from the start with its mode and its owner, then written.
	as_user install -m 0600 /dev/null "$file"
	printf '%s\n' "$1" >"$file"
	echo "$file"
}

live_push()
{
	cluster_psql -v key_file="$1" <<'SQL' >/dev/null
ALTER SYSTEM SET contacts_push.api_key_file = :'key_file';
SELECT pg_reload_conf();
SQL
	cluster_psql -v chatbot="$CHATBASE_CHATBOT_ID" -v contacts="$live_contacts" <<'SQL' >/dev/null
CREATE TABLE demo_users (
	external_id text PRIMARY KEY,
	name text NOT NULL,
	email text NOT NULL UNIQUE
);
SELECT contacts_push.watch('demo_users', :'chatbot');
SELECT to_char(clock_timestamp(), 'YYYYMMDDHH24MISS') AS stamp \gset
INSERT INTO demo_users
SELECT format('contacts_push_demo_%s_%s', :'stamp', n),
	format('contacts_push demo %s', n),
	format('contacts_push_demo_%s_%s@example.com', :'stamp', n)
FROM generate_series(1, :contacts) AS n;
SELECT contacts_push.flush('1 minute');
SQL
}

# Shows what became of them; fails unless all are created.
live_result()
{
	local created

	cluster_psql -c 'SELECT external_id, status, http_status, contact_id, error FROM contacts_push.outbox ORDER BY seq' \
		-c 'SELECT state FROM contacts_push.progress'
	created=$(cluster_psql -At -c "SELECT count(*) FROM contacts_push.outbox WHERE status = 'created'")
	if [ "$created" -ne "$live_contacts" ]; then
		echo "$created of $live_contacts were created." >&2
		return 1
	fi
	echo "All $live_contacts are there; look for \"contacts_push demo\" among the chatbot's contacts, and delete them."
}

demo_live()
{
	local key

	live_require
	live_confirm
	key=$CHATBASE_API_KEY
	unset CHATBASE_API_KEY
	prepare
	say "Pushing $live_contacts contacts to Chatbase ..."
	live_push "$(live_key_file "$key")"
	live_result
	cluster_stop
}
