/**
 * Where systemd runs, each guest is a scope of its own in machine.slice, named as libvirt names it: `systemctl status`,
 * `systemd-cgls` and monitoring see guests, a restart or stop of the daemon's unit does not concern them, and their
 * control group is delegated to us (systemd.scope(5), https://systemd.io/CGROUP_DELEGATION).
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { VirtError } from '../../base/errors.ts';
import { runTool } from '../../base/run-tool.ts';

/** Slice of all virtual machines and containers (systemd.special(7)). */
const SLICE = 'machine.slice';
const PLACED_MS = 5000;
const LOOK_AGAIN_MS = 5;
/** systemd's names end at 256 bytes with the NUL. */
const MAX_NAME = 255;
const suffix = '.scope';

/** The devices of the daemon's own unit: leaving that would leave its rules too. */
const deviceClasses = [
  'char-misc',
  'char-pts',
  'char-macvtap',
  'char-vfio',
  'char-usb_device',
  'char-drm',
  'block-*',
];

/** A guest that is to have a scope. */
export interface ScopedGuest {
  readonly id: number;
  readonly name: string;
  readonly uuid: string;
  /** QEMU and its helpers. */
  readonly pids: readonly number[];
}

/** True when systemd is the first process (sd_booted(3)). */
export function isSystemdRunning(): boolean {
  return existsSync('/run/systemd/system');
}

/** The name of a guest's scope: `machine-qemu\x2dID\x2dNAME.scope`, of what fits. */
export function scopeName({ id, name }: Pick<ScopedGuest, 'id' | 'name'>): string {
  const pieces = [`machine-${escaped(`qemu-${id}-`)}`, ...[...Buffer.from(name)].map(escapedByte)];
  let text = '';
  for (const piece of pieces) {
    if (text.length + piece.length + suffix.length > MAX_NAME) break;
    text += piece;
  }
  return `${text}${suffix}`;
}

/** systemd-escape(1): what is not a letter or digit, : _ or . is written as a number. */
function escapedByte(byte: number): string {
  const character = String.fromCharCode(byte);
  return /[A-Za-z0-9:_.]/.test(character) ? character : `\\x${byte.toString(16).padStart(2, '0')}`;
}

const escaped = (text: string) => [...Buffer.from(text)].map(escapedByte).join('');

/** The scope of a guest in lines of /proc/PID/cgroup, as a path from the mount of version 2; undefined outside of one. */
export function scopeIn(lines: string): string | undefined {
  return /^0::(\/.*?machine-[^/]*\.scope)(?:\/|$)/m.exec(lines)?.[1];
}

/** Arguments of StartTransientUnit (org.freedesktop.systemd1(5)) in busctl's notation. */
export function transientUnit(guest: ScopedGuest): string[] {
  const properties = [
    ['Description', 's', `Virtual machine ${guest.name} (${guest.uuid})`],
    ['Slice', 's', SLICE],
    ['Delegate', 'b', 'true'],
    // At the end of the host they go after they were asked to shut down, and before the daemon.
    ['Before', 'as', '1', 'vireo-guests.service'],
    ['After', 'as', '1', 'vireod.service'],
    ['TasksMax', 't', '16384'],
    ['DevicePolicy', 's', 'closed'],
    ['DeviceAllow', 'a(ss)', String(deviceClasses.length), ...deviceClasses.flatMap((name) => [name, 'rw'])],
    // A scope that failed would keep its name.
    ['CollectMode', 's', 'inactive-or-failed'],
    ['PIDs', 'au', String(guest.pids.length), ...guest.pids.map(String)],
  ];
  return [scopeName(guest), 'fail', String(properties.length), ...properties.flat(), '0'];
}

/**
 * Has systemd make a guest's scope and move its processes there; returns when they are in it.
 * @throws VirtError program.missing without busctl; program.failed, program.timeout, operation.timeout
 */
export async function placeInScope(guest: ScopedGuest): Promise<void> {
  const manager = 'org.freedesktop.systemd1';
  const method = [manager, '/org/freedesktop/systemd1', `${manager}.Manager`, 'StartTransientUnit'];
  await runTool('busctl', ['--system', 'call', ...method, 'ssa(sv)a(sa(sv))', ...transientUnit(guest)], {
    timeoutMs: PLACED_MS,
  });
  const deadline = performance.now() + PLACED_MS;
  const [pid = 0] = guest.pids;
  // In whatever tree systemd uses here: with version 1 it has one of its own.
  const placed = `/${scopeName(guest)}`;
  while (!(await readFile(`/proc/${pid}/cgroup`, 'utf8')).includes(placed)) {
    if (performance.now() > deadline)
      throw new VirtError('operation.timeout', {
        wanted: `place domain '${guest.name}' in a scope`,
        reason: `systemd did not move it within ${PLACED_MS} ms`,
      });
    await sleep(LOOK_AGAIN_MS);
  }
}
