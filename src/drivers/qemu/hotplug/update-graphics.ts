/** A change of a display server that runs: its password, until when that is good, and who stays connected. */
import { toTheEnd } from '../../../base/late-answers.ts';
import { throwProblems } from '../../../base/xml/codec.ts';
import { withDevices } from '../../../model/domain/device-list.ts';
import { isSaid } from '../../../model/domain/device-match.ts';
import type { Graphics, Listen } from '../../../model/domain/devices/graphics.ts';
import { passwordProblems } from '../../../model/domain/validate/devices.ts';
import type { QemuGuest } from '../guest.ts';
import { setPasswords } from '../monitor.ts';
import { type DeviceChange, refuseOthers } from './change.ts';

type Served = Extract<Graphics, { type: 'vnc' | 'spice' }>;

/**
 * What the description leaves open stays; a password without a time is good for ever.
 * @throws VirtError definition.unsupported for ports, addresses and all else that is settled at the start; qmp.*
 */
export async function changeGraphics(guest: QemuGuest, change: DeviceChange): Promise<Graphics> {
  const wish = change.device as Graphics;
  const before = change.old.device as Graphics;
  refuseOthers(guest, change, [
    'passwd',
    'passwdValidTo',
    'connected',
    'autoport',
    ...unchanged(wish, before),
  ]);
  if (!isServed(wish) || !isServed(before)) return before;
  const { passwd = before.passwd, passwdValidTo, connected } = wish;
  const isNew = wish.passwd !== undefined && wish.passwd !== before.passwd;
  const isSame = wish.passwd === undefined && passwdValidTo === undefined && connected === undefined;
  if (passwd === undefined || isSame) return before;
  const { passwdValidTo: _until, connected: _connected, ...rest } = before;
  const after = {
    ...rest,
    passwd,
    ...(passwdValidTo !== undefined && { passwdValidTo }),
    ...(connected !== undefined && { connected }),
  } as Served;
  if (!isNew && passwdValidTo === before.passwdValidTo && connected === before.connected) return before;
  const { definition } = guest;
  const wanted = `update <graphics> of domain '${definition.name}'`;
  throwProblems(passwordProblems({ graphics: [after] }), wanted, 'definition.unsupported');
  const only = { ...definition.devices, graphics: [after] };
  await toTheEnd(() =>
    setPasswords(guest.monitorClient(), withDevices(definition, only), { isRenewed: true }),
  );
  return after;
}

const isServed = (graphics: Graphics): graphics is Served =>
  graphics.type === 'vnc' || graphics.type === 'spice';

/** Where it listens, as far as the description leaves that open, or says what is so. */
function unchanged(wish: Graphics, before: Graphics): string[] {
  if (!isServed(wish) || !isServed(before)) return [];
  const chosen: Readonly<Record<string, unknown>> = { ...wish };
  const same: string[] = [];
  if (wish.autoport) same.push('port');
  for (const key of ['tlsPort', 'websocket']) if (chosen[key] === -1) same.push(key);
  if (listensThere(wish.listens, before.listens)) same.push('listens');
  return same;
}

/** An address that is left open is where the server listens. */
function listensThere(wish: readonly Listen[] = [], before: readonly Listen[] = []): boolean {
  return wish.length <= before.length && wish.every((one, at) => isSaid(one, before[at]));
}
