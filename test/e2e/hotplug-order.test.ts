/** What a running guest's devices can be told without a system in it: another order to boot from, memory that is shared. */
import { readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { bootSector, writeImage } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

describeWith(['root', 'qemu-system-x86_64'], 'devices of a guest that boots again', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  const path = (name: string) => join(daemon.root, name);
  const said = (name: string) => readFileSync(path(`${name}.serial`), 'latin1');
  const xmlOf = async (domain: string) => (await client.call('domain.xml', { domain })).xml;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  it('are booted from in another order after a reset, and share memory; a kernel for crashes is told of', async () => {
    const name = 'plug-order';
    const shared = `vireo-shared-${process.pid}`;
    const names = ['one', 'two'] as const;
    for (const one of names) writeImage(path(`${one}.img`), bootSector.says(`BOOT ${one}`));
    writeImage(path('crash.img'), bootSector.loadsForCrash);
    const disk = (one: string, dev: string, order: number) =>
      `<disk type='file'><driver name='qemu' type='raw'/><source file='${path(`${one}.img`)}'/><target dev='${dev}' bus='ide'/><boot order='${order}'/></disk>`;
    await client.call('domain.create-xml', {
      xml: `<domain type='qemu'><name>${name}</name><memory unit='MiB'>32</memory><os><type machine='pc'>hvm</type></os>
        <features><acpi/></features><devices>${disk('one', 'hda', 1)}${disk('two', 'hdb', 2)}${disk('crash', 'hdc', 3)}
        <serial type='pty'><log file='${path(`${name}.serial`)}'/></serial><panic model='isa'/></devices></domain>`,
    });
    const boots = (what: RegExp) => eventually(String(what), () => what.test(said(name)), 60_000);
    await boots(/BOOT one/);
    const order = (xml: string) => client.call('domain.update-device', { domain: name, xml, live: true });
    await expect(order(disk('two', 'hdb', 1))).rejects.toThrow(/boot order 1 is taken/);
    await order(disk('one', 'hda', 9));
    await order(disk('two', 'hdb', 1));
    expect([...(await xmlOf(name)).matchAll(/boot order='(\d)'/g)].map(([, at]) => at)).toEqual([
      '9',
      '1',
      '3',
    ]);
    await client.call('domain.reset', { domain: name });
    await boots(/BOOT two/);
    const memory = `<shmem name='${shared}'><model type='ivshmem-plain'/><size unit='M'>1</size></shmem>`;
    try {
      await client.call('domain.attach-device', { domain: name, xml: memory, live: true });
      expect(statSync(`/dev/shm/${shared}`).size).toBe(1 << 20);
    } finally {
      rmSync(`/dev/shm/${shared}`, { force: true });
    }
    const events = await client.subscribe({ events: ['domain.crashed'] });
    await order(disk('two', 'hdb', 8));
    await order(disk('crash', 'hdc', 1));
    await client.call('domain.reset', { domain: name });
    expect((await events.next()).value).toMatchObject({ event: 'domain.crashed', reason: 'crash-loaded' });
    await events.close();
    expect((await client.call('domain.get', { domain: name })).state).toBe('running');
    await client.call('domain.destroy', { domain: name });
  }, 150_000);
});
