-- The view follows: its column is the same one under a new name.
ALTER TABLE users RENAME COLUMN tier TO plan;
