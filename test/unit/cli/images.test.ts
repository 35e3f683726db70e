/** Cloud images on the command line: what is asked of the daemon, and what is told of the way in. */
import { mkdirSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeDaemon, summary } from './fake-daemon.ts';
import { type CliRun, runCli } from './run-cli.ts';

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC1j6lIGNSK49Phk7gkJbYw0zCG6nLYXEWvKKY89O7ww me@here';

const pulled = {
  arch: 'x86_64',
  pool: 'default',
  volume: 'debian-13-x86_64-012345678901.qcow2',
  url: 'https://cloud.debian.org/x',
  checksum: `sha512:${'a'.repeat(128)}`,
  sizeBytes: 300 * 1024 * 1024,
  pulledAt: '2026-11-21T10:00:00.000Z',
};
const entry = (image: string, aliases: string[], here: (typeof pulled)[] = []) => ({
  ...{ image, aliases, title: 'Debian', architectures: ['x86_64'], user: 'debian', pulled: here },
  mirror: 'https://cloud.debian.org',
});

describe('cloud images', () => {
  let daemon: FakeDaemon;
  let guest: Socket | undefined;
  beforeEach(async () => {
    daemon = await FakeDaemon.start({
      'image.list': () => ({
        images: [entry('debian:13', ['trixie'], [pulled]), entry('debian:12', ['bookworm'])],
      }),
      'image.pull': () => ({ image: 'debian:13:x86_64', new: true, pulled }),
      'domain.create': () => ({
        domain: summary('web', { state: 'paused', active: true }),
        warnings: [],
        login: 'debian',
      }),
      'domain.console': (_params: never, socket) => ({ console: 'serial0', after: () => (guest = socket) }),
      'domain.resume': () => {
        setTimeout(() => guest?.end(), 10);
        return summary('web');
      },
      'domain.destroy': () => ({}),
    });
  });
  afterEach(() => daemon[Symbol.asyncDispose]());

  const vireo = (...args: string[]): Promise<CliRun> =>
    runCli(args, {
      socketPath: daemon.socketPath,
      env: { HOME: daemon.directory },
      cwd: daemon.directory,
    });
  const writeKey = () => {
    mkdirSync(join(daemon.directory, '.ssh'));
    writeFileSync(join(daemon.directory, '.ssh/id_ed25519.pub'), `${KEY}\n`);
    writeFileSync(join(daemon.directory, '.ssh/id_ed25519'), 'not for anybody');
  };
  const imageOf = () => (daemon.paramsOf('domain.create') as { image: Record<string, unknown> }).image;

  it('are listed, searched and pulled', async () => {
    expect((await vireo('image', 'list')).stdout).toContain(
      'debian:13   x86_64   300 MiB   2026-11-21   default/debian-13-x86_64-012345678901.qcow2',
    );
    const found = (await vireo('image', 'search', 'bookworm')).stdout;
    expect(found).toContain('debian:12');
    expect(found).not.toContain('debian:13');
    expect((await vireo('image', 'pull', 'debian:13')).stdout).toBe(
      'debian:13:x86_64 is here: default/debian-13-x86_64-012345678901.qcow2, 300 MiB.\n',
    );
    expect(daemon.paramsOf('image.pull')).toEqual({ image: 'debian:13', pool: 'default' });
  });

  it('run with the keys of the user, a port for SSH, and a password of which the daemon sees a hash', async () => {
    writeKey();
    const run = await vireo('run', 'debian:13', '--disk-size', '20GiB');
    expect(run.code, run.stderr).toBe(0);
    const password = /password: ([a-z0-9]{12})/.exec(run.stderr)?.[1] ?? 'none';
    expect(run.stderr).toMatch(/ssh -p \d+ debian@127\.0\.0\.1/);
    expect(daemon.paramsOf('domain.create')).toMatchObject({
      memoryBytes: 2 ** 30,
      transient: true,
      autodestroy: true,
      networks: [{ type: 'user', portForwards: [{ guestPort: 22 }] }],
    });
    expect(imageOf()).toMatchObject({
      name: 'debian:13',
      sshKeys: [KEY],
      sizeBytes: 20 * 2 ** 30,
      passwordHash: expect.stringMatching(/^\$6\$/),
    });
    expect(JSON.stringify(daemon.calls)).not.toContain(password);
    expect(JSON.stringify(daemon.calls)).not.toContain('not for anybody');
  });

  it('make domains that last, with a password only where no key is', async () => {
    const create = ['domain', 'create', '--name', 'web', '--image', 'debian:13'];
    expect((await vireo(...create)).stderr).toContain("as 'debian', password: ");
    writeKey();
    const made = await vireo(...create, '--user', 'me', '--full-copy');
    expect(made.stderr).not.toContain('password');
    expect(made.stderr).toContain("ssh debian@ADDRESS; 'vireo show web'");
    expect(imageOf()).toMatchObject({ name: 'debian:13', copy: 'full', sshKeys: [KEY], user: 'me' });
    writeFileSync(join(daemon.directory, 'ud'), '#!/bin/sh\necho hello\n');
    await vireo(...create, '--cloud-init', 'ud');
    expect(imageOf()).toMatchObject({ userData: '#!/bin/sh\necho hello\n', sshKeys: [] });
  });

  it.each([
    [['run', '--kernel', 'k', '--user', 'me'], 'for cloud images of the catalogue'],
    [['domain', 'create', '--name', 'web', '--disk-size', '1GiB'], 'add --image'],
    [['run', 'debian:13', '--keep-changes'], 'a cloud image is shared'],
    [['run', 'debian:13', '--disk-size', '20'], 'the size has no unit'],
    [['run', 'debian:13', '--ssh-key', 'absent.pub'], 'absent.pub'],
    [['run', 'windows:11'], 'no such file'],
  ])('refuse %j', async (args, text) => {
    const run = await vireo(...args);
    expect(run.code).not.toBe(0);
    expect(run.stderr).toContain(text);
    expect(daemon.asked).toEqual([]);
  });
});

describe('volume import', () => {
  it('asks the daemon for what a URL names, under the name of its file', async () => {
    const volume = {
      ...{ pool: 'default', name: 'disk.img', key: '/d', path: '/d', type: 'file', format: 'raw' },
      ...{ capacityBytes: 1024, allocationBytes: 0, problem: null },
    };
    await using daemon = await FakeDaemon.start({
      'volume.import': () => ({ volume, bytes: 5, sha256: 'a'.repeat(64), sourceFormat: 'raw' }),
    });
    const run = await runCli(['volume', 'import', 'https://a.example/x/disk.img.xz?t=1', '--size', '1GiB'], {
      socketPath: daemon.socketPath,
    });
    expect(run.stderr).toBe('');
    expect(run.stdout).toContain("Volume 'default/disk.img' is there: raw, 1 KiB");
    expect(daemon.paramsOf('volume.import')).toEqual({
      pool: 'default',
      name: 'disk.img',
      url: 'https://a.example/x/disk.img.xz?t=1',
      capacityBytes: 2 ** 30,
    });
  });
});
