/** Lifecycle actions, autostart once, limits of network cards, certificates of displays, and events of monitors. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { monitorFilter } from '../../../src/daemon/frontends/libvirt/events/monitor-filter.ts';
import { qemuProgram } from '../../../src/libvirt/protocol/programs.ts';
import { qemuProcedures } from '../../../src/libvirt/protocol/qemu.ts';
import { decodeAll } from '../../../src/libvirt/xdr/xdr.ts';
import type { LibvirtClient } from '../../support/libvirt-client.ts';
import { guestXml, type Rig, startRig } from './rig.ts';

const mac = '52:54:00:00:00:01';
const cardXml = guestXml('one').replace(
  '<devices>',
  `<devices><interface type='bridge'><mac address='${mac}'/><source bridge='br0'/><target dev='tap7'/></interface><graphics type='vnc'/>`,
);

async function defined(rig: Rig, client: LibvirtClient, isRunning: boolean) {
  const { dom } = await client.call('domainDefineXmlFlags', { xml: cardXml, flags: 0 });
  if (isRunning) await client.call('domainCreate', { dom });
  return { dom, domain: rig.engine.domains.find({ uuid: dom.uuid }) };
}

const anySide = { flags: 0 };

describe('lifecycle actions', () => {
  it('change the running guest, the stored definition, or both', async () => {
    const rig = await startRig();
    const client = await rig.open();
    const { dom, domain } = await defined(rig, client, true);
    const set = (type: number, action: number, flags: number) =>
      client.call('domainSetLifecycleAction', { dom, type, action, flags });
    const stored = () => rig.engine.domains.definitions.definition(domain, { inactive: true });
    const { lastGuest } = rig.driver;
    await set(1, 0, 1);
    expect(lastGuest.done).toContain('reset means power-off');
    expect(lastGuest.definition.onReboot).toBe('destroy');
    expect(stored().onReboot).toBeUndefined();
    await set(1, 1, 3);
    expect(lastGuest.done.at(-1)).toBe('reset means reset');
    expect(stored().onReboot).toBe('restart');
    await set(2, 3, 2);
    expect(stored().onCrash).toBe('preserve');
    await expect(set(3, 0, 0)).rejects.toThrow('8: invalid argument: lifecycle event 3');
    await expect(set(0, 0, 4)).rejects.toThrow(
      'unsupported flags (0x4) in function virDomainSetLifecycleAction',
    );
  });

  it('are refused where no document could say them, and the domain stays readable', async () => {
    const rig = await startRig();
    const client = await rig.open();
    const { dom } = await defined(rig, client, false);
    await expect(
      client.call('domainSetLifecycleAction', { dom, type: 0, action: 5, flags: 2 }),
    ).rejects.toThrow(
      "67: unsupported configuration: Lifecycle event 'poweroff' doesn't support 'coredump-restart'",
    );
    const nothing = { dom, params: [], flags: 0 };
    await client.call('domainSetPerfEvents', nothing);
    expect((await client.call('domainGetPerfEvents', { dom, flags: 0 })).params).toHaveLength(22);
  });

  it('are refused where the emulator could not have them, before anything has changed', async () => {
    const rig = await startRig();
    const client = await rig.open();
    const { dom, domain } = await defined(rig, client, true);
    rig.driver.check = ({ onCrash }) =>
      onCrash === 'preserve' ? Promise.reject(new Error('not here')) : Promise.resolve();
    await expect(
      client.call('domainSetLifecycleAction', { dom, type: 2, action: 3, flags: 3 }),
    ).rejects.toThrow();
    expect(domain.live?.guest.definition.onCrash).toBeUndefined();
  });
});

describe('autostart once', () => {
  it('starts a guest with the host one time, and is forgotten then', async () => {
    const rig = await startRig();
    const client = await rig.open();
    const { dom, domain } = await defined(rig, client, false);
    await client.call('domainSetAutostartOnce', { dom, autostart: 1 });
    expect(await client.call('domainGetAutostartOnce', { dom })).toEqual({ autostart: 1 });
    expect(await client.call('domainGetAutostart', { dom })).toEqual({ autostart: 0 });
    const { recovery, lifecycle } = rig.engine.domains;
    await recovery.autostart(join(rig.directory, 'first-boot'));
    expect(domain.isActive).toBe(true);
    expect(await client.call('domainGetAutostartOnce', { dom })).toEqual({ autostart: 0 });
    await lifecycle.destroy(domain, { graceful: false });
    await recovery.autostart(join(rig.directory, 'second-boot'));
    expect(domain.isActive).toBe(false);
  });
});

describe('limits of network cards', () => {
  const uint = (field: string, value: number) => ({ field, value: { type: 2 as const, value } });

  it('are told with zeros for what is not limited, and set for the guest and its definition', async () => {
    const rig = await startRig();
    const client = await rig.open();
    const { dom, domain } = await defined(rig, client, true);
    const get = async (flags: number) => {
      const { params } = await client.call('domainGetInterfaceParameters', {
        dom,
        device: mac,
        nparams: 7,
        flags,
      });
      return Object.fromEntries(params.map(({ field, value }) => [field, value.value]));
    };
    const ask = { dom, device: 'tap7', nparams: 0, flags: 0 };
    expect(await client.call('domainGetInterfaceParameters', ask)).toEqual({ params: [], nparams: 7 });
    expect(Object.values(await get(1))).toEqual([0, 0, 0, 0, 0, 0, 0]);
    const set = (flags: number, ...params: ReturnType<typeof uint>[]) =>
      client.call('domainSetInterfaceParameters', { dom, device: 'tap7', params, flags });
    await set(3, uint('inbound.average', 1000), uint('inbound.peak', 2000), uint('outbound.average', 500));
    expect(await get(1)).toMatchObject({
      'inbound.average': 1000,
      'inbound.peak': 2000,
      'outbound.average': 500,
    });
    expect(await get(2)).toEqual(await get(1));
    await set(1, uint('inbound.average', 0), uint('inbound.peak', 0));
    expect(await get(1)).toMatchObject({ 'inbound.average': 0, 'inbound.peak': 0, 'outbound.average': 500 });
    expect(await get(2)).toMatchObject({ 'inbound.average': 1000 });
    expect(domain.live?.guest.definition.devices.interfaces[0]?.bandwidth).toEqual({
      outbound: { average: 500 },
    });
    await expect(set(1, uint('inbound.burst', 3))).rejects.toThrow('need an average');
    await expect(set(1, uint('inbound.speed', 3))).rejects.toThrow("parameter 'inbound.speed' not supported");
    await expect(
      client.call('domainGetInterfaceParameters', { dom, device: 'tap9', nparams: 7, flags: 0 }),
    ).rejects.toThrow("8: invalid argument: 'tap9' is not a known interface");
  });
});

describe('certificates of displays', () => {
  it('are read again by a running guest with VNC', async () => {
    const rig = await startRig();
    const client = await rig.open();
    const { dom } = await defined(rig, client, false);
    const reload = (type: number) => client.call('domainGraphicsReload', { dom, type, ...anySide });
    await expect(reload(0)).rejects.toThrow('55: Requested operation is not valid');
    await client.call('domainCreate', { dom });
    await reload(1);
    expect(rig.driver.lastGuest.done).toContain('reload certificates');
    await expect(reload(2)).rejects.toThrow('type must be less than 2');
  });
});

describe('events of monitors', () => {
  it('reach whoever asked for them, as QEMU says them, until they are given back', async () => {
    const rig = await startRig();
    const [client, other] = [await rig.open(), await rig.open()];
    const { dom } = await defined(rig, client, true);
    const { callbackId } = await client.callQemu('connectDomainMonitorEventRegister', {
      dom,
      event: 'rtc_.*',
      flags: 3,
    });
    expect(rig.server.subscriptionCount).toBe(1);
    const { lastGuest } = rig.driver;
    lastGuest.say({ name: 'STOP', data: {}, seconds: 1 });
    lastGuest.say({ name: 'RTC_CHANGE', data: { offset: 3 }, seconds: 1_700_000_000.25 });
    const { number, body } = qemuProcedures.domainMonitorEvent;
    const packet = await client.next(
      ({ header }) => header.program === qemuProgram.number && header.procedure === number,
    );
    expect(decodeAll(body, packet.body)).toMatchObject({
      callbackId,
      dom: { name: 'one' },
      event: 'RTC_CHANGE',
      seconds: 1_700_000_000,
      micros: 250_000,
      details: '{"offset":3}',
    });
    expect(other.packets).toEqual([]);
    await client.callQemu('connectDomainMonitorEventDeregister', { callbackId });
    await expect(client.callQemu('connectDomainMonitorEventDeregister', { callbackId })).rejects.toThrow(
      `qemu monitor event callback ${callbackId} not registered`,
    );
    lastGuest.say({ name: 'RTC_CHANGE', data: {}, seconds: 2 });
    await client.call('connectGetType', undefined);
    expect(client.packets).toEqual([]);
  });

  it.each([
    [null, 0, 'ANY', true],
    ['STOP', 0, 'STOP', true],
    ['stop', 0, 'STOP', false],
    ['stop', 2, 'STOP', true],
    ['^BLOCK_(JOB|IO)', 1, 'BLOCK_JOB_READY', true],
    ['^BLOCK_(JOB|IO)', 1, 'DEVICE_DELETED', false],
  ])('are chosen by name or pattern: %s with flags %i and %s', (event, flags, name, isChosen) => {
    expect(monitorFilter(event, flags)(name)).toBe(isChosen);
  });

  it.each(['(A+)+$', '(a|a)*b', '\\1', '.*.*.*.*x', '(?=x)', 'a'.repeat(300), '['])(
    'are not chosen by a pattern that is none or could take for ever: %s',
    (pattern) => {
      expect(() => monitorFilter(pattern, 1)).toThrow(/pattern/);
    },
  );
});
