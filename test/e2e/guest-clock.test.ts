/** A guest that sets its hardware clock finds it so later: the running definition says how far it is ahead. */
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { littleLinux, startScript } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

/** Two hours ahead, then one more. */
const atStart = `#!/bin/sh
ahead() { date -u -s "@$(( $(date +%s) + $1 ))" >/dev/null; hwclock -u -w -f /dev/rtc0; }
ahead 7200; sleep 1; ahead 3600
# And a day more some time later; the console's log says when.
(sleep 8; ahead 86400; echo 'clock: a day ahead' >/dev/console) &
`;

describeWith(['busybox', 'qemu-system-x86_64'], "a guest's clock", () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
  });
  afterAll(() => daemon?.remove());

  const clockOf = async (inactive: boolean) => {
    const { xml } = await client.call('domain.xml', { domain: 'clock', inactive });
    return /<clock[^>]*adjustment='(-?\d+)'/.exec(xml)?.[1];
  };

  it('is followed in the running definition, over a crash of the daemon, and not in the stored one', async () => {
    const log = `${daemon.root}/clock.log`;
    const files = await littleLinux(`${daemon.root}/linux`, [startScript(atStart)]);
    await client.call('domain.define', {
      xml: `<domain type='qemu'><name>clock</name><memory unit='MiB'>160</memory>
        <os><type machine='pc'>hvm</type><kernel>${files.kernel}</kernel><initrd>${files.initrd}</initrd>
          <cmdline>console=ttyS0 quiet no_timer_check</cmdline></os>
        <clock offset='variable' adjustment='60' basis='utc'/>
        <devices><serial type='pty'><log file='${log}'/></serial></devices></domain>`,
    });
    const stream = await client.subscribe({ events: ['domain.rtc-changed'] });
    const starter = await daemon.connect();
    await starter.call('domain.start', { domain: 'clock' });
    const offsets: number[] = [];
    for await (const event of stream)
      if (event.event === 'domain.rtc-changed' && offsets.push(event.offsetSeconds) === 2) break;
    // The guest's own sense of time while it boots under emulation is a little off.
    expect(Math.abs((offsets[0] ?? 0) - 7260)).toBeLessThan(60);
    expect(Math.abs((offsets[1] ?? 0) - 10_860)).toBeLessThan(60);
    expect(await clockOf(false)).toBe(String(offsets[1]));
    expect(await clockOf(true)).toBe('60');
    await daemon.end('SIGKILL');
    // QEMU writes that log itself, daemon or not.
    const isSet = () => existsSync(log) && readFileSync(log, 'utf8').includes('clock: a day ahead');
    await eventually('the guest sets its clock while no daemon runs', () => Promise.resolve(isSet()), 60_000);
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    expect(Math.abs(Number(await clockOf(false)) - (offsets[1] ?? 0) - 86_400)).toBeLessThan(60);
    expect(await clockOf(true)).toBe('60');
  });
});
