// Signing up, changing the e-mail, closing the account.  Nothing here knows of Chatbase.
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';
import { and, eq, isNull } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import pg from 'pg';
import { events, invitations, users } from './schema.js';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const db = drizzle(pool);

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// All or nothing: an invitation that is used up takes its user back along.
function signUp({ name, email, invitation }) {
  return db.transaction(async (tx) => {
    const [user] = await tx.insert(users).values({ name, email }).returning({ id: users.id });
    await tx.insert(events).values({ userId: user.id, what: 'signed up' });
    if (invitation !== undefined) {
      const used = await tx.update(invitations).set({ usedBy: user.id })
        .where(and(eq(invitations.code, invitation), isNull(invitations.usedBy)));
      if (used.rowCount === 0) throw new Refused(422, 'this invitation is not valid');
    }
    return user;
  });
}

function changeEmail(id, { email }) {
  return db.transaction(async (tx) => {
    const changed = await tx.update(users).set({ email }).where(eq(users.id, id));
    if (changed.rowCount === 0) throw new Refused(404, 'no such user');
    await tx.insert(events).values({ userId: id, what: 'changed e-mail' });
    return { id };
  });
}

async function closeAccount(id) {
  const closed = await db.delete(users).where(eq(users.id, id));
  if (closed.rowCount === 0) throw new Refused(404, 'no such user');
  return { id };
}

async function answer(request) {
  const [, id] = request.url.match(/^\/users(?:\/(\d+))?$/) ?? [];
  if (request.method === 'POST' && request.url === '/users') return signUp(await json(request));
  if (request.method === 'PATCH' && id) return changeEmail(Number(id), await json(request));
  if (request.method === 'DELETE' && id) return closeAccount(Number(id));
  throw new Refused(404, 'no such page');
}

function refusal(error) {
  if (error instanceof Refused) return [error.status, { message: error.message }];
  if (error.cause?.code === '23505') return [409, { message: 'this e-mail is taken' }];
  console.error(error);
  return [500, { message: 'something went wrong' }];
}

const server = createServer(async (request, response) => {
  const [status, body] = await answer(request).then((body) => [200, body], refusal);
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
});
server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
process.on('SIGTERM', () => server.close(() => pool.end()));
