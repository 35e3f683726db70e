/** What a guest's own power-off, reset and panic lead to: on_poweroff, on_reboot and on_crash, with guests that do it. */
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { eventually, qemuProcesses, TestDaemon } from '../../support/daemon.ts';
import { bootSector, writeImage } from '../../support/guest-image.ts';
import { describeWith } from '../../support/needs.ts';
import { collect, diskXml, idleXml, leftovers } from './domains.ts';

describeWith(['root', 'qemu-system-x86_64'], 'a guest that', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    for (const what of ['powersOff', 'resets', 'panics'] as const)
      writeImage(join(daemon.root, `${what}.img`), bootSector[what]);
  });
  afterAll(() => daemon.remove());
  afterEach(async () => {
    for (const domain of (await client.call('domain.list', { active: true })).domains)
      await client.call('domain.destroy', { domain: domain.uuid });
    await eventually('nothing is left', () => leftovers(daemon.root).length === 0);
  });

  const devices = (image: string) => `${diskXml(join(daemon.root, `${image}.img`))}<panic model='isa'/>`;

  /** Starts a guest with a policy and collects what happens. */
  async function run(image: 'powersOff' | 'resets' | 'panics', policy: string) {
    const xml = idleXml('guest', {
      domain: `<features><acpi/></features>${policy}`,
      devices: devices(image),
    });
    await client.call('domain.define', { xml });
    const seen = await collect(client);
    await client.call('domain.start', { domain: 'guest' });
    const [pid] = qemuProcesses(daemon.root);
    const names = () => seen.map(({ event }) => event).filter((name) => name.startsWith('domain.'));
    const count = (name: string) => names().filter((one) => one === name).length;
    return { pid, names, count, seen };
  }

  const get = () => client.call('domain.get', { domain: 'guest' });
  const off = () => client.call('domain.wait', { domain: 'guest', until: 'shutoff', timeoutMs: 20_000 });

  it.each(['', '<on_poweroff>destroy</on_poweroff>'])('powers off is shut off (%s)', async (policy) => {
    const guest = await run('powersOff', policy);
    await off();
    expect(await get()).toMatchObject({ state: 'shutoff', reason: 'shutdown' });
    await eventually('the events', () => guest.count('domain.stopped') === 1);
    expect(guest.names()).toEqual(['domain.started', 'domain.shutdown', 'domain.stopped']);
    expect(qemuProcesses(daemon.root)).toEqual([]);
  });

  it('powers off is started again in the same QEMU with on_poweroff restart, each time, and can be destroyed', async () => {
    const guest = await run('powersOff', '<on_poweroff>restart</on_poweroff>');
    await eventually('two rounds', () => guest.count('domain.rebooted') >= 2);
    expect(qemuProcesses(daemon.root)).toEqual([guest.pid]);
    await client.call('domain.destroy', { domain: 'guest' });
    expect(await get()).toMatchObject({ state: 'shutoff', reason: 'destroyed' });
    expect(guest.count('domain.shutdown')).toBe(0);
  });

  it('powers off is kept with on_poweroff preserve, also over a restart of the daemon', async () => {
    const guest = await run('powersOff', '<on_poweroff>preserve</on_poweroff>');
    await eventually('its end', async () => (await get()).state === 'shutdown');
    await client[Symbol.asyncDispose]();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    await eventually('its state', async () => (await get()).state === 'shutdown');
    expect(qemuProcesses(daemon.root)).toEqual([guest.pid]);
  });

  it('powers off while no daemon runs is found shut off for what it is', async () => {
    const xml = idleXml('guest', { domain: '<features><acpi/></features>', devices: devices('powersOff') });
    await client.call('domain.define', { xml });
    await client.call('domain.start', { domain: 'guest' });
    await client[Symbol.asyncDispose]();
    await daemon.end('SIGKILL');
    await new Promise((done) => setTimeout(done, 3000));
    daemon = await TestDaemon.start({ root: daemon.root });
    client = await daemon.connect();
    await off();
    expect(await get()).toMatchObject({ state: 'shutoff', reason: 'shutdown' });
  });

  it('resets goes on in the same QEMU', async () => {
    const guest = await run('resets', '<on_reboot>restart</on_reboot>');
    await eventually('two rounds', () => guest.count('domain.rebooted') >= 2);
    expect((await get()).state).toBe('running');
    expect(qemuProcesses(daemon.root)).toEqual([guest.pid]);
  });

  it.each([
    '<on_reboot>destroy</on_reboot>',
    '<on_reboot>destroy</on_reboot><on_poweroff>restart</on_poweroff>',
  ])('resets is ended (%s)', async (policy) => {
    const guest = await run('resets', policy);
    await off();
    expect(await get()).toMatchObject({ state: 'shutoff' });
    expect(guest.count('domain.rebooted')).toBe(0);
  });

  it.each(['', '<on_crash>destroy</on_crash>'])('panics is shut off as crashed (%s)', async (policy) => {
    const guest = await run('panics', policy);
    await off();
    expect(await get()).toMatchObject({ state: 'shutoff', reason: 'crashed' });
    await eventually('the events', () => guest.count('domain.stopped') === 1);
    expect(guest.names()).toEqual(['domain.started', 'domain.crashed', 'domain.stopped']);
  });

  it('panics is started again in the same QEMU with on_crash restart', async () => {
    const guest = await run('panics', '<on_crash>restart</on_crash>');
    await eventually('two rounds', () => guest.count('domain.crashed') >= 2);
    expect(qemuProcesses(daemon.root)).toEqual([guest.pid]);
    await client.call('domain.destroy', { domain: 'guest' });
    expect(await get()).toMatchObject({ state: 'shutoff', reason: 'destroyed' });
  });

  it('panics is kept with on_crash preserve, also over a restart of the daemon, until it is destroyed', async () => {
    const guest = await run('panics', '<on_crash>preserve</on_crash>');
    await eventually('its state', async () => (await get()).state === 'crashed');
    await client[Symbol.asyncDispose]();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    await eventually('its state', async () => (await get()).state === 'crashed');
    expect(qemuProcesses(daemon.root)).toEqual([guest.pid]);
    await client.call('domain.destroy', { domain: 'guest' });
    expect(qemuProcesses(daemon.root)).toEqual([]);
  });

  it('is transient is gone when it powers off', async () => {
    const xml = idleXml('passing', { domain: '<features><acpi/></features>', devices: devices('powersOff') });
    await client.call('domain.create-xml', { xml });
    await eventually('it is gone', async () =>
      (await client.call('domain.list')).domains.every(({ name }) => name !== 'passing'),
    );
    expect(qemuProcesses(daemon.root)).toEqual([]);
  });
});
