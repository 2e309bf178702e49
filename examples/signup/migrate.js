// Runs the migrations that the database has not had yet, in one transaction.  Connects
// directly, as the tables' owner.
import pg from 'pg';
import { drizzle } from 'drizzle-orm/node-postgres';
import { migrate } from 'drizzle-orm/node-postgres/migrator';

const client = new pg.Client({ connectionString: process.env.OWNER_URL });
await client.connect();
await migrate(drizzle(client), { migrationsFolder: new URL('migrations', import.meta.url).pathname });
await client.end();
