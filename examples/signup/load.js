// Signs people up one after another, four at a time, until its standard input ends; every
// third changes the e-mail, every seventh closes the account.  Prints how often each
// status was answered.
const url = `${process.argv[2]}/users`;
const statuses = {};
let going = true;
let count = 0;

async function send(method, path, body) {
  const response = await fetch(url + path, { method, body: JSON.stringify(body) });
  statuses[response.status] = (statuses[response.status] ?? 0) + 1;
  return response.json();
}

async function signUpAll() {
  while (going) {
    const n = ++count;
    const { id } = await send('POST', '', { name: `User ${n}`, email: `user${n}@example.de` });
    if (n % 3 === 0) await send('PATCH', `/${id}`, { email: `user${n}@example.com` });
    if (n % 7 === 0) await send('DELETE', `/${id}`);
  }
}

process.stdin.on('end', () => { going = false; }).resume();
await Promise.all([1, 2, 3, 4].map(signUpAll));
console.log(JSON.stringify(statuses));
