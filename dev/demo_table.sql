-- A table of users as many applications have one.
CREATE TABLE users (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text NOT NULL,
	email text NOT NULL UNIQUE,
	phonenumber text,
	created_at timestamptz NOT NULL DEFAULT now()
);
