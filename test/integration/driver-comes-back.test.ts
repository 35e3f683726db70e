/** Guests of a daemon that has gone, found again by the next one with a real QEMU. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { isSameProcess, killProcess, processStartTime } from '../../src/base/spawn.ts';
import type { GuestRecord, LiveGuest } from '../../src/drivers/driver.ts';
import { QemuDriver } from '../../src/drivers/qemu/driver.ts';
import { driverRig, eventOf } from '../support/driver-rig.ts';
import { describeWith } from '../support/needs.ts';

const qemu = 'qemu-system-x86_64';
const rig = driverRig();

describeWith([qemu], 'a daemon that comes back', () => {
  /** Lets go of the guest, and finds it again with a new driver. */
  async function comeBack(guest: LiveGuest, between: () => Promise<void> = () => Promise.resolve()) {
    guest.detach();
    await between();
    const record = JSON.parse(JSON.stringify(guest.record)) as GuestRecord;
    const next = new QemuDriver(rig.optionsFor());
    const found = await next.reattach(record, guest.definition);
    if (found !== undefined) rig.alive.splice(rig.alive.indexOf(guest), 1, found);
    return found;
  }

  it('finds its guest running, and can do all with it', async () => {
    const guest = await rig.start();
    const found = await comeBack(guest);
    expect(found?.state).toEqual({ state: 'running', reason: 'unknown' });
    await found?.suspend();
    expect(found?.state).toEqual({ state: 'paused', reason: 'user' });
    expect(found?.definition.devices.serials[0]?.source).toMatchObject({
      path: guest.record.ptys['serial0'],
    });
    const stream = await found?.openConsole(undefined, { force: false });
    stream?.destroy();
    expect(await found?.kill({ force: true, graceMs: 5000 })).toMatchObject({
      stderrTail: expect.any(String),
    });
    expect(isSameProcess(guest.record)).toBe(false);
  });

  it('is told of the power-off that it missed', async () => {
    const guest = await rig.start({ image: join(rig.root, 'speaking.img') });
    const found = await comeBack(guest, () => sleep(2000));
    if (found === undefined) throw new Error('the guest was not found');
    expect(await eventOf(found, 'powered-off')).toMatchObject({ byGuest: true });
    expect(found.state.state).toBe('shutdown');
  });

  it('notices when a guest that is not its child dies', async () => {
    const guest = await rig.start();
    const found = await comeBack(guest);
    killProcess(guest.record, 'SIGKILL');
    expect((await found?.exited)?.exitCode).toBeUndefined();
  });

  it('does not take another process for its guest', async () => {
    const guest = await rig.start();
    const other = { ...guest.record, startTimeTicks: String(Number(guest.record.startTimeTicks) + 1) };
    expect(await rig.driver.reattach(other, guest.definition)).toBeUndefined();
    const mine = { ...guest.record, pid: process.pid, startTimeTicks: processStartTime(process.pid) ?? '' };
    expect(await rig.driver.reattach(mine, guest.definition)).toBeUndefined();
  });

  it('goes on without the monitor of a QEMU that hangs, and has it when that goes on', async () => {
    const guest = await rig.start();
    const found = await comeBack(guest, async () => {
      killProcess(guest.record, 'SIGSTOP');
      await sleep(50);
    });
    expect(found?.state).toEqual({ state: 'paused', reason: 'unknown' });
    await expect(found?.suspend()).rejects.toThrow(expect.objectContaining({ code: 'qmp.closed' }));
    killProcess(guest.record, 'SIGCONT');
    await expect.poll(() => found?.state, { timeout: 5000 }).toEqual({ state: 'running', reason: 'unknown' });
    await found?.suspend();
  });

  it('can destroy a QEMU that hangs', async () => {
    const guest = await rig.start();
    const found = await comeBack(guest, async () => {
      killProcess(guest.record, 'SIGSTOP');
      await sleep(50);
    });
    await found?.kill({ force: true, graceMs: 100 });
    expect(isSameProcess(guest.record)).toBe(false);
  });

  it('ends what no record knows, and nothing else', async () => {
    const kept = await rig.start();
    const image = join(rig.root, 'speaking.img');
    const lost = await rig.driver.start(await rig.define({ name: 'lost', image }), 2, { paused: true });
    lost.detach();
    const strays = await rig.driver.findStrays([kept.record]);
    expect(strays.map(({ uuid, directory }) => [uuid, directory])).toEqual([
      [lost.definition.uuid, lost.record.directory],
    ]);
    for (const stray of strays) await rig.driver.endStray(stray);
    expect(isSameProcess(lost.record)).toBe(false);
    expect(isSameProcess(kept.record)).toBe(true);
    expect(await readdir(join(rig.root, 'run', 'g'))).toEqual([kept.record.directory.split('/').at(-1)]);
    expect(await rig.driver.findStrays([kept.record])).toEqual([]);
  });
});
