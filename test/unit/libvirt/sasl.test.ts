/** Clients of other hosts that show who they are: order, limits, and that nobody learns who is there. */
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { joinSockets } from '../../../src/daemon/frontends/libvirt/join-sockets.ts';
import { Failures } from '../../../src/daemon/frontends/libvirt/sasl/failures.ts';
import { SaslUsers } from '../../../src/daemon/services/sasl-users.ts';
import { LibvirtClient, RemoteError } from '../../support/libvirt-client.ts';
import { startRig } from './rig.ts';

function makeUsers(): { users: SaslUsers; path: string } {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-su-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'sasl-users.json');
  return { users: new SaslUsers({ path, log: silentLogger }), path };
}

describe('users of SASL', () => {
  it('are kept without their passwords, where only the owner reads', async () => {
    const { users, path } = makeUsers();
    await users.set({ name: 'ann', readOnly: false }, 'correct horse');
    await users.set({ name: 'ben', readOnly: true }, 'battery staple');
    expect(users.list()).toEqual([
      { name: 'ann', readOnly: false },
      { name: 'ben', readOnly: true },
    ]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'utf8')).not.toMatch(/correct|battery/);
    await users.remove('ann');
    expect(users.find('ann')).toBeUndefined();
    await expect(users.remove('ann')).rejects.toMatchObject({ code: 'sasl-user.not-found' });
  });

  it('that are not there look like others, each time the same', async () => {
    const { users } = makeUsers();
    await users.set({ name: 'ann', readOnly: false }, 'correct horse');
    const [one, two] = [users.lookup(), users.lookup()];
    const [ann, ghost] = [one('ann'), one('ghost')];
    expect(ghost.iterations).toBe(ann.iterations);
    expect(ghost.salt.length).toBe(ann.salt.length);
    expect(two('ghost').salt.equals(ghost.salt)).toBe(true);
    expect(one('other').salt.equals(ghost.salt)).toBe(false);
    // Names that every object of the language has are names like others.
    expect(one('__proto__').salt.equals(one('constructor').salt)).toBe(false);
  });

  it('are not believed from a file that others can read', async () => {
    const { users, path } = makeUsers();
    await users.set({ name: 'ann', readOnly: false }, 'correct horse');
    chmodSync(path, 0o644);
    expect(() => users.list()).toThrow('can be read by others');
  });
});

describe('failures of an address', () => {
  it('shut it out for some minutes, and its neighbours in one IPv6 network with it', () => {
    let now = 0;
    const failures = new Failures(() => now);
    for (let count = 0; count < 10; count++) {
      expect(failures.isShut('192.0.2.1')).toBe(false);
      failures.note(count % 2 === 0 ? '192.0.2.1' : '::ffff:192.0.2.1');
      failures.note(`2001:db8:0:1::${count}`);
    }
    expect(failures.isShut('192.0.2.1')).toBe(true);
    expect(failures.isShut('192.0.2.2')).toBe(false);
    expect(failures.isShut('2001:db8:0:1:ffff::1')).toBe(true);
    expect(failures.isShut('2001:db8:0:2::1')).toBe(false);
    now = 5 * 60_000;
    expect(failures.isShut('192.0.2.1')).toBe(false);
  });
});

/** A server whose clients come from another host, each from an address of its own, so that failures do not add up. */
async function remoteRig() {
  const { users } = makeUsers();
  await users.set({ name: 'ann', readOnly: false }, 'correct horse');
  await users.set({ name: 'ben', readOnly: true }, 'battery staple');
  const rig = await startRig();
  const path = join(rig.directory, 'remote');
  let next = 1;
  const clients = new Set<never>() as never;
  const door = createServer((socket) =>
    joinSockets(
      socket,
      () => rig.server.openRemote({ address: `192.0.2.${next++}`, isEncrypted: true }, users),
      { clients, log: silentLogger },
    ),
  );
  await new Promise<void>((done) => door.listen(path, done));
  onTestFinished(() => void door.close());
  return {
    rig,
    connect: async () => {
      const client = await LibvirtClient.connect(path);
      onTestFinished(() => client.close());
      return client;
    },
  };
}

const text = (data: Uint8Array) => Buffer.from(data).toString();
const firstOf = (user: string) => `n,,n=${user},r=a-nonce-of-the-client`;

/** The last message of a client that knows the password. */
function finalOf(user: string, password: string, challenge: string): string {
  const [, nonce = '', salt = '', iterations = ''] = /^r=(.*),s=(.*),i=(.*)$/.exec(challenge) ?? [];
  const salted = pbkdf2Sync(password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256');
  const key = createHmac('sha256', salted).update('Client Key').digest();
  const stored = createHash('sha256').update(key).digest();
  const without = `c=biws,r=${nonce}`;
  const signature = createHmac('sha256', stored)
    .update(`${firstOf(user).slice(3)},${challenge},${without}`)
    .digest();
  const proof = Buffer.from(key.map((byte, index) => byte ^ (signature[index] ?? 0)));
  return `${without},p=${proof.toString('base64')}`;
}

const mech = 'SCRAM-SHA-256';

async function begin(client: LibvirtClient, user: string): Promise<string> {
  await client.call('authSaslInit', undefined);
  const started = await client.call('authSaslStart', { mech, nil: 0, data: Buffer.from(firstOf(user)) });
  expect(started.complete).toBe(0);
  return text(started.data);
}

const step = (client: LibvirtClient, data: string) =>
  client.call('authSaslStep', { nil: 0, data: Buffer.from(data) });

/** What a refused call says. */
async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof RemoteError) return error.message;
    throw error;
  }
  throw new Error('it was not refused');
}

describe('clients of other hosts', { timeout: 30_000 }, () => {
  it('may do nothing before they have shown who they are, and everything then', async () => {
    const { connect } = await remoteRig();
    const client = await connect();
    expect((await client.call('authList', undefined)).types).toEqual(['sasl']);
    expect(await refusal(client.call('connectOpen', { name: null, flags: 0 }))).toContain(
      'authentication required',
    );
    expect(await refusal(client.call('authPolkit', undefined))).toContain('polkit is not asked for');
    const challenge = await begin(client, 'ann');
    const done = await step(client, finalOf('ann', 'correct horse', challenge));
    expect(done.complete).toBe(1);
    expect(text(done.data)).toMatch(/^v=[A-Za-z0-9+/]{43}=$/);
    await client.call('connectOpen', { name: 'qemu:///system', flags: 0 });
    expect((await client.call('connectIsSecure', undefined)).secure).toBe(1);
    // Descriptors do not come over a network.
    expect((await client.call('connectSupportsFeature', { feature: 8 })).supported).toBe(0);
    expect((await client.call('authList', undefined)).types).toEqual(['none']);
  });

  it('that may only look are held to it, whatever they ask for', async () => {
    const { connect, rig } = await remoteRig();
    const client = await connect();
    await step(client, finalOf('ben', 'battery staple', await begin(client, 'ben')));
    await client.call('connectOpen', { name: 'qemu:///system', flags: 0 });
    expect(rig.engine.mode).toBe('system');
    expect(await refusal(client.call('domainDefineXml', { xml: '<domain/>' }))).toContain('read only access');
  });

  it('hear the same of a wrong password, a name that is not there and a nonce that was recorded', async () => {
    const { connect } = await remoteRig();
    const [one, two, three, four] = await Promise.all([connect(), connect(), connect(), connect()]);
    const [wrong, ghost, old, fresh] = await Promise.all([
      begin(one, 'ann'),
      begin(two, 'ghost'),
      begin(three, 'ann'),
      begin(four, 'ann'),
    ]);
    // The two that are of no use look alike.
    expect(ghost.replace(/^r=[^,]*,s=[^,]*/, '')).toBe(wrong.replace(/^r=[^,]*,s=[^,]*/, ''));
    const said = await Promise.all([
      refusal(step(one, finalOf('ann', 'wrong horse', wrong))),
      refusal(step(two, finalOf('ghost', 'correct horse', ghost))),
      refusal(step(four, finalOf('ann', 'correct horse', old))),
    ]);
    expect(new Set(said)).toEqual(new Set(['45: authentication failed: authentication failed']));
    // Its own still works: nobody is shut out by what others do.
    expect((await step(three, finalOf('ann', 'correct horse', old))).complete).toBe(1);
    expect(fresh).not.toBe(old);
    // One try for each connection.
    for (const client of [one, two, four]) await expect.poll(() => client.isClosed).toBe(true);
  });

  it('are cut off after steps out of order, another mechanism, and more than there is room for', async () => {
    const { connect } = await remoteRig();
    const data = Buffer.from(firstOf('ann'));
    const [one, two, three, four] = await Promise.all([connect(), connect(), connect(), connect()]);
    const said = await Promise.all([
      refusal(one.call('authSaslStep', { nil: 0, data })),
      two
        .call('authSaslInit', undefined)
        .then(() => refusal(two.call('authSaslStart', { mech: 'PLAIN', nil: 0, data }))),
      begin(three, 'ann').then(() => refusal(step(three, 'x'.repeat(5000)))),
    ]);
    expect(new Set(said)).toEqual(new Set(['45: authentication failed: authentication failed']));
    await begin(four, 'ann');
    await expect(step(four, 'x'.repeat(70_000))).rejects.toThrow();
    for (const client of [one, two, three]) await expect.poll(() => client.isClosed).toBe(true);
  });
});
