-- An outbox as people write one by hand.
CREATE TABLE plain_outbox (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	payload jsonb NOT NULL,
	status text NOT NULL DEFAULT 'pending',
	contact_id text,
	error text,
	created_at timestamptz NOT NULL DEFAULT now(),
	sent_at timestamptz);
CREATE INDEX plain_outbox_pending ON plain_outbox (id) WHERE status = 'pending';
