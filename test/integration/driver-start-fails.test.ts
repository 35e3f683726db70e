/** Starts that fail with a real QEMU, at any step, leave nothing behind. */
import { chmodSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { VirtError } from '../../src/base/errors.ts';
import type { HostDeviceProvider } from '../../src/drivers/driver.ts';
import { QemuDriver } from '../../src/drivers/qemu/driver.ts';
import { defaultTimeouts } from '../../src/drivers/qemu/options.ts';
import { driverRig } from '../support/driver-rig.ts';
import { describeWith } from '../support/needs.ts';

const qemu = 'qemu-system-x86_64';
const isRoot = process.getuid?.() === 0;
const rig = driverRig();

describeWith([qemu], 'a start that fails leaves nothing', () => {
  /** Starts with a program in QEMU's place. */
  async function startWith(program: string, timeouts = defaultTimeouts) {
    const definition = await rig.define();
    const path = join(rig.root, 'qemu');
    await writeFile(path, program);
    await chmod(path, 0o755);
    chmodSync(rig.root, 0o755); // The guest's user must be able to run it.
    const real = rig.optionsFor();
    const { devices } = definition;
    const other = new QemuDriver({
      ...real,
      timeouts,
      emulators: {
        ...real.emulators,
        capabilities: () => real.emulators.capabilities(devices.emulator ?? ''),
      },
    });
    // The command line names the binary that the definition names.
    return other.start({ ...definition, devices: { ...devices, emulator: path } }, 1, { paused: false });
  }

  it('when QEMU says what is wrong and ends', async () => {
    await expect(startWith('#!/bin/sh\necho "qemu: no such thing" >&2\nexit 1\n')).rejects.toThrow(
      expect.objectContaining({
        code: 'domain.start-failed',
        reason: expect.stringContaining('no such thing'),
        details: expect.objectContaining({ stderr: 'qemu: no such thing' }),
      }),
    );
    expect(rig.leftovers()).toEqual([]);
  });

  it('when QEMU hangs before its greeting', async () => {
    const begun = performance.now();
    await expect(
      startWith('#!/bin/sh\nexec sleep 60\n', { ...defaultTimeouts, startMs: 500 }),
    ).rejects.toThrow(
      expect.objectContaining({ code: 'domain.start-failed', reason: expect.stringContaining('500 ms') }),
    );
    expect(performance.now() - begun).toBeLessThan(10_000);
    expect(rig.leftovers()).toEqual([]);
  });

  it('when the binary can not be run', async () => {
    await expect(startWith('no program\n')).rejects.toThrow(
      expect.objectContaining({ code: 'domain.start-failed' }),
    );
    expect(rig.leftovers()).toEqual([]);
  });

  it('when a disk is missing, and names its path', async () => {
    const definition = await rig.define({ image: join(rig.root, 'none.img') });
    await expect(rig.driver.start(definition, 1, { paused: false })).rejects.toThrow(
      expect.objectContaining({ code: 'file.not-found', reason: expect.stringContaining('none.img') }),
    );
    expect(rig.leftovers()).toEqual([]);
  });

  it('when the firmware is no firmware', async () => {
    await writeFile(join(rig.root, 'bad.fd'), 'x');
    const os = `<loader readonly='yes' type='pflash'>${join(rig.root, 'bad.fd')}</loader>`;
    await expect(rig.driver.start(await rig.define({ os }), 1, { paused: false })).rejects.toThrow(
      expect.objectContaining({ code: 'domain.start-failed' }),
    );
    expect(rig.leftovers()).toEqual([]);
  });

  it('when an interface gets no link, or there is nobody to give one', async () => {
    const devices = "<interface type='bridge'><source bridge='br-none'/></interface>";
    const failing = new QemuDriver(
      rig.optionsFor({
        mode: 'system',
        links: {
          open: () => Promise.reject(new VirtError('link.failed', { reason: 'no such bridge' })),
          close: () => Promise.resolve(),
        },
      }),
    );
    const definition = await rig.define({ devices }, failing);
    await expect(failing.start(definition, 1, { paused: false })).rejects.toThrow(
      expect.objectContaining({ code: 'link.failed' }),
    );
    const alone = new QemuDriver(rig.optionsFor({ mode: 'system' }));
    await expect(alone.start(definition, 1, { paused: false })).rejects.toThrow(
      expect.objectContaining({ code: 'network.session' }),
    );
    expect(rig.leftovers()).toEqual([]);
  });

  it('when QEMU ends early, or with its guest: devices of the host are given back', async () => {
    const told: string[] = [];
    const hostDevices: HostDeviceProvider = {
      take({ definition, uid }) {
        told.push(`take ${uid === undefined ? 'without' : 'with'} a user`);
        const { hostdevs: _taken, ...devices } = definition.devices;
        return Promise.resolve({ ...definition, devices: { ...devices, hostdevs: [] } });
      },
      release: (uuid) => Promise.resolve(void told.push(`release ${uuid}`)),
      releaseOne: () => Promise.resolve(),
      releaseOthers: () => Promise.resolve(),
      holders: () => new Map(),
      scsiNode: () => undefined,
      reserveFunction: () => Promise.reject(new Error('nobody asks')),
    };
    const usb = "<hostdev type='usb'><source><vendor id='0x1234'/><product id='0x5678'/></source></hostdev>";
    const lending = new QemuDriver(
      rig.optionsFor({ hostDevices, timeouts: { ...defaultTimeouts, startMs: 1 } }),
    );
    const definition = await rig.define({ devices: usb }, lending);
    await expect(lending.start(definition, 1, { paused: false })).rejects.toThrow();
    const user = isRoot ? 'with' : 'without';
    expect(told.splice(0)).toEqual([`take ${user} a user`, `release ${definition.uuid}`]);
    const patient = new QemuDriver(rig.optionsFor({ hostDevices }));
    const guest = await patient.start(definition, 1, { paused: false });
    expect(told.splice(0)).toEqual([`take ${user} a user`]);
    await guest.kill({ force: true, graceMs: 0 });
    await patient.cleanUp(guest.record, guest.definition);
    expect(told).toEqual([`release ${definition.uuid}`]);
    expect(rig.leftovers()).toEqual([]);
  });

  it('when it is cancelled', async () => {
    const stop = new AbortController();
    stop.abort();
    await expect(
      rig.driver.start(await rig.define(), 1, { paused: false, signal: stop.signal }),
    ).rejects.toThrow();
    expect(rig.leftovers()).toEqual([]);
  });
});
