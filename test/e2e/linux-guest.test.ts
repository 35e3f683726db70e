/** What a running Linux is told by the daemon: power button, agent, keys, pictures; and what it leaves in its log. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { file } from '../../scripts/guest-image/cpio.ts';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { littleLinux } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

/** As much of qemu-guest-agent as a shutdown needs (QEMU docs/interop/qemu-ga-ref: guest-sync-delimited, guest-shutdown). */
const agent = `#!/bin/busybox sh
port=$(ls /dev/vport*p1 | head -n 1)
(
  exec 3<>"$port"
  # Without somebody at the other end there is nothing to read, at once.
  while :; do
    read -r line <&3 || { sleep 0.2; continue; }
    case "$line" in
      *guest-sync-delimited*)
        id=$(echo "$line" | sed 's/.*"id": *\\([0-9]*\\).*/\\1/')
        printf '\\377{"return": %s}\\n' "$id" >&3 ;;
      *guest-shutdown*reboot*) echo "agent: reboot" >/dev/ttyS0; reboot -f ;;
      *guest-shutdown*) echo "agent: power-off" >/dev/ttyS0; poweroff -f ;;
    esac
  done
) &
`;

/** Tells what the first keyboard sends, as hexadecimal bytes. */
const keys = `#!/bin/busybox sh
for device in /sys/class/input/event*; do
  if grep -qi keyboard "$device/device/name"; then
    ( dd bs=24 count=1 if=/dev/input/\${device##*/} 2>/dev/null; ) | od -An -tx1 | sed 's/^/key: /' >/dev/ttyS0 &
  fi
done
`;

describeWith(['root', 'qemu-system-x86_64', '/bin/busybox'], 'a running Linux', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let said = '';
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    const { kernel, initrd } = await littleLinux(join(daemon.root, 'linux'), [
      file('etc/start.d/agent', agent, 0o755),
      file('etc/start.d/keys', keys, 0o755),
    ]);
    const xml = `<domain type='qemu'><name>linux</name><memory unit='MiB'>256</memory>
      <os><type machine='pc'>hvm</type><kernel>${kernel}</kernel><initrd>${initrd}</initrd>
        <cmdline>console=ttyS0 quiet no_timer_check</cmdline></os><features><acpi/></features>
      <devices>
        <serial type='pty'><log file='${logFile()}' append='off'/></serial>
        <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
        <input type='keyboard' bus='ps2'/><video><model type='vga'/></video>
      </devices></domain>`;
    await client.call('domain.define', { xml });
    await client.call('domain.start', { domain: 'linux', paused: true });
    const { stream } = await client.upgrade('domain.console', { domain: 'linux' });
    stream.pipe(new PassThrough()).on('data', (chunk: Buffer) => {
      said += chunk.toString('latin1');
    });
    await client.call('domain.resume', { domain: 'linux' });
    await boots(1);
  });
  afterAll(() => daemon.remove());

  const logFile = (): string => join(daemon.root, 'serial.log');
  const count = (text: string): number => said.split(text).length - 1;
  const boots = (times: number): Promise<void> =>
    eventually(`boot ${times} in ${said}`, () => count('vireo guest: ready') === times, 100_000);

  it('is in the log of its serial port, word by word', async () => {
    await eventually('the log', () => readFileSync(logFile(), 'latin1').includes('vireo guest: ready'));
  });

  it('gets the keys that it is sent', async () => {
    await client.call('domain.send-key', { domain: 'linux', keys: ['KEY_A'], codeset: 'linux', holdMs: 50 });
    // struct input_event: 16 bytes of time; type 4 (EV_MSC), code 4 (MSC_SCAN), value 0x1e: the scan code of A.
    await eventually('the key', () => /key: .*04 00 04 00 1e 00 00 00|key: [^]*04 00 04 00 1e/.test(said));
  });

  it('is photographed as a PNG', async () => {
    const { mime, base64 } = await client.call('domain.screenshot', { domain: 'linux' });
    const bytes = Buffer.from(base64, 'base64');
    expect(mime).toBe('image/png');
    expect(bytes.subarray(0, 8).toString('latin1')).toBe('\x89PNG\r\n\x1a\n');
    expect(bytes.readUInt32BE(16)).toBeGreaterThanOrEqual(640);
    expect(bytes.readUInt32BE(20)).toBeGreaterThanOrEqual(400);
  });

  it('reboots by its power button, in the same QEMU', async () => {
    const before = qemuProcesses(daemon.root);
    await client.call('domain.reboot', { domain: 'linux', mode: 'acpi' });
    await boots(2);
    expect(qemuProcesses(daemon.root)).toEqual(before);
    expect((await client.call('domain.get', { domain: 'linux' })).state).toBe('running');
  });

  it('reboots by its agent, in the same QEMU', async () => {
    const before = qemuProcesses(daemon.root);
    await client.call('domain.reboot', { domain: 'linux', mode: 'agent' });
    await boots(3);
    expect(said).toContain('agent: reboot');
    expect(qemuProcesses(daemon.root)).toEqual(before);
  });

  it('shuts down by its agent', async () => {
    await client.call('domain.shutdown', { domain: 'linux', mode: 'agent', timeoutMs: 60_000 });
    expect(said).toContain('agent: power-off');
    expect(await client.call('domain.get', { domain: 'linux' })).toMatchObject({
      state: 'shutoff',
      reason: 'shutdown',
    });
  });
});
