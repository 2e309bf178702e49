CREATE TABLE users (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text NOT NULL,
    email text NOT NULL UNIQUE,
    tier  text NOT NULL DEFAULT 'free'
);
CREATE TABLE invitations (
    code    text PRIMARY KEY,
    used_by bigint REFERENCES users (id) ON DELETE SET NULL
);
CREATE TABLE events (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL,
    what    text NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON users, invitations, events TO signup;
