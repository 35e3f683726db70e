/**
 * A display port that another program takes between our look and QEMU's bind: the start tries the next one. A port that a
 * definition forwards, and an image that it has twice: the error says what is in the way.
 */
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { TestDaemon } from '../../support/daemon.ts';
import { describeWith } from '../../support/needs.ts';
import { idleXml } from './domains.ts';

describeWith(['root', '/usr/bin/qemu-system-x86_64'], 'a port or an image taken by another', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    chmodSync(daemon.root, 0o755);
  });
  afterAll(() => daemon.remove());

  /** An emulator whose first `losses` starts of a guest end as QEMU's do when the port is taken. */
  function unluckyQemu(losses: number): { path: string; triesIn: string } {
    const directory = join(daemon.root, `unlucky${losses}`);
    mkdirSync(directory, { mode: 0o755 });
    const tries = join(directory, 'tries');
    mkdirSync(tries);
    for (const path of [directory, tries]) chmodSync(path, path === tries ? 0o777 : 0o755);
    const path = join(directory, 'qemu-system-x86_64');
    writeFileSync(
      path,
      `#!/bin/sh
case "$*" in *guest=*) ;; *) exec /usr/bin/qemu-system-x86_64 "$@" ;; esac
n=1
while [ -e '${tries}'/$n ]; do n=$((n + 1)); done
[ "$n" -gt ${losses} ] && exec /usr/bin/qemu-system-x86_64 "$@"
: >'${tries}'/$n
echo "qemu-system-x86_64: -vnc 127.0.0.1:0: Failed to bind socket: Address already in use" >&2
exit 1
`,
    );
    chmodSync(path, 0o755);
    return { path, triesIn: tries };
  }

  const withVnc = (name: string, emulator: string) =>
    idleXml(name, { devices: `<emulator>${emulator}</emulator><graphics type='vnc' autoport='yes'/>` });

  it('is given up for the next one', async () => {
    const qemu = unluckyQemu(2);
    await client.call('domain.define', { xml: withVnc('patient', qemu.path) });
    await client.call('domain.start', { domain: 'patient' });
    expect(existsSync(join(qemu.triesIn, '2'))).toBe(true);
    const details = await client.call('domain.get', { domain: 'patient' });
    expect(details.graphics[0]?.port).toBeGreaterThanOrEqual(5900);
    await client.call('domain.destroy', { domain: 'patient' });
  });

  it('that is lost every time ends the start with what QEMU said', async () => {
    const qemu = unluckyQemu(100);
    await client.call('domain.define', { xml: withVnc('unlucky', qemu.path) });
    await expect(client.call('domain.start', { domain: 'unlucky' })).rejects.toMatchObject({
      code: 'domain.start-failed',
      message: expect.stringContaining('Address already in use') as string,
    });
    expect(existsSync(join(qemu.triesIn, '4'))).toBe(true);
    expect(existsSync(join(qemu.triesIn, '5'))).toBe(false);
  });

  it('that a definition forwards is named, with what to do', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => {
      other.listen(0, '127.0.0.1', () => resolve());
    });
    const { port } = other.address() as AddressInfo;
    const forward = `<portForward proto='tcp' address='127.0.0.1'><range start='${port}'/></portForward>`;
    const devices = `<interface type='user'>${forward}</interface>`;
    await client.call('domain.define', { xml: idleXml('forwards', { devices }) });
    await expect(client.call('domain.start', { domain: 'forwards' })).rejects.toMatchObject({
      code: 'domain.start-failed',
      hint: expect.stringContaining(`another program uses tcp 127.0.0.1:${port}`) as string,
    });
    other.close();
  });

  it('is not what an image is called that a domain has twice', async () => {
    const image = join(daemon.root, 'twice.raw');
    writeFileSync(image, Buffer.alloc(512));
    const disk = (target: string) =>
      `<disk type='file'><driver name='qemu' type='raw'/><source file='${image}'/><target dev='${target}'/></disk>`;
    await client.call('domain.define', { xml: idleXml('twice', { devices: disk('vda') + disk('vdb') }) });
    await expect(client.call('domain.start', { domain: 'twice' })).rejects.toMatchObject({
      code: 'domain.start-failed',
      reason: `its disks vda and vdb are the same image, ${image}`,
    });
  });
});
