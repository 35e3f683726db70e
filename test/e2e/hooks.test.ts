/** libvirt's hook scripts around real guests: order, arguments, XML, vetoes, and what happens after a restart. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

const xml = `<domain type='qemu'><name>web</name><memory unit='MiB'>32</memory><os><type arch='x86_64'>hvm</type></os></domain>`;

let root: string;
let daemon: TestDaemon;
let client: VireoClient;

/** A script that notes each call, and does `extra` for it. */
function hook(name: string, extra = ''): void {
  const path = join(root, 'etc/libvirt/hooks', name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(
    path,
    `#!/bin/sh\nxml=$(cat)\necho "$@" >> ${root}/calls\nprintf '%s' "$xml" > "${root}/xml-$2"\n${extra}\n`,
  );
  chmodSync(path, 0o755);
}

const calls = () => (existsSync(join(root, 'calls')) ? readFileSync(join(root, 'calls'), 'utf8') : '');
const lines = () => calls().trim().split('\n');

describeWith(['root', 'qemu-system-x86_64'], 'hooks', () => {
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'vh-'));
    hook('daemon');
    daemon = await TestDaemon.start({ root });
    client = await daemon.connect();
    await client.call('domain.define', { xml });
  });

  afterEach(async () => {
    await client.close();
    await daemon.remove();
    rmSync(root, { recursive: true, force: true });
  });

  it('are told of the daemon, and of each step in the life of a guest, in order', async () => {
    hook('qemu');
    await client.call('domain.start', { domain: 'web' });
    await client.call('domain.destroy', { domain: 'web' });
    await daemon.end();
    expect(lines()).toEqual([
      '- start - start',
      'web prepare begin -',
      'web start begin -',
      'web started begin -',
      'web stopped end -',
      'web release end -',
      '- shutdown - shutdown',
    ]);
    expect(readFileSync(join(root, 'xml-prepare'), 'utf8')).toMatch(/^<domain type='qemu'/);
    expect(readFileSync(join(root, 'xml-started'), 'utf8')).toContain("<alias name='");
  });

  it.each(['prepare', 'start', 'started'])('may refuse at %s, and then no guest runs', async (moment) => {
    hook('qemu', `[ "$2" != ${moment} ] || { echo not today >&2; exit 1; }`);
    await expect(client.call('domain.start', { domain: 'web' })).rejects.toMatchObject({
      code: 'hook.refused',
      message: expect.stringContaining('not today'),
    });
    expect(lines().slice(-2)).toEqual(['web stopped end -', 'web release end -']);
    hook('qemu');
    await client.call('domain.start', { domain: 'web' });
  });

  it('are told of guests found again, and end one by refusing it', async () => {
    await client.call('domain.start', { domain: 'web' });
    hook('qemu');
    daemon = await daemon.crashAndRestart();
    await eventually('the reconnect hook ran', () => calls().includes('web reconnect begin -'));
    client = await daemon.connect();
    expect((await client.call('domain.get', { domain: 'web' })).state).toBe('running');
    hook('qemu', '[ "$2" != reconnect ] || exit 1');
    await client.close();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    await eventually(
      'the guest is ended',
      async () => (await client.call('domain.get', { domain: 'web' })).state === 'shutoff',
    );
    await eventually('it was tidied up after', () => lines().at(-1) === 'web release end -');
  });

  it('get the definition of a saved state, and what they write takes its place', async () => {
    const title = async () => (await client.call('domain.xml', { domain: 'web' })).xml;
    await client.call('domain.start', { domain: 'web' });
    await client.call('domain.managed-save', { domain: 'web' });
    const changing = (change: string) =>
      hook('qemu', `[ "$2" != restore ] || printf '%s' "$xml" | sed '${change}'`);
    // What the guest would notice is refused, and the state stays.
    changing('s/32768</65536</g');
    await expect(client.call('domain.start', { domain: 'web' })).rejects.toMatchObject({
      code: 'definition.unsupported',
    });
    hook('qemu', '[ "$2" != restore ] || exit 1');
    await expect(client.call('domain.start', { domain: 'web' })).rejects.toMatchObject({
      code: 'hook.refused',
    });
    changing('s,</uuid>,</uuid><title>moved here</title>,');
    await client.call('domain.start', { domain: 'web' });
    expect(lines()).toContain('web restore begin -');
    expect(await title()).toContain('<title>moved here</title>');
    const path = join(root, 'web.state');
    await client.call('domain.save', { domain: 'web', path });
    changing('s,moved here,from a file,');
    await client.call('domain.restore', { path });
    expect(await title()).toContain('<title>from a file</title>');
    expect(readFileSync(join(root, 'xml-restore'), 'utf8')).toMatch(/^<domain type='qemu'/);
  });

  it('that somebody else may write do not run', async () => {
    hook('qemu', 'exit 1');
    chmodSync(join(root, 'etc/libvirt/hooks/qemu'), 0o777);
    await client.call('domain.start', { domain: 'web' });
    expect(calls()).not.toContain('web prepare');
    await expect.poll(() => daemon.stderr.join('')).toContain('a hook is not run');
  });
});
