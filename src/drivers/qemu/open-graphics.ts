/** A client for a guest's display over a socket pair: QEMU gets one end, whoever wants to look the other. */
import { randomUUID } from 'node:crypto';
import { VirtError } from '../../base/errors.ts';
import { socketPair } from '../../base/ffi/pass-fds.ts';
import { close } from '../../base/ffi.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { QmpClient } from './qmp/client.ts';

/**
 * Gives the far end, which belongs to the caller (QEMU docs: QMP getfd, add_client).
 * @throws VirtError domain.no-device for a display that isn't there or takes no clients; qmp.*
 */
export async function openGraphics(
  qmp: QmpClient,
  definition: DomainDef,
  index: number,
  { skipAuth }: { readonly skipAuth: boolean },
): Promise<number> {
  const type = displayType(definition, index);
  const [ours, theirs] = socketPair();
  try {
    await addClient(qmp, type, theirs, skipAuth);
    return ours;
  } catch (error) {
    close(ours);
    throw error;
  } finally {
    close(theirs);
  }
}

/**
 * Hands QEMU a client that is connected already: its end of a socket, of which QEMU gets a copy.
 * @throws VirtError domain.no-device for a display that isn't there or takes no clients; qmp.*
 */
export async function addGraphicsClient(
  qmp: QmpClient,
  definition: DomainDef,
  client: { readonly index: number; readonly fd: number; readonly skipAuth: boolean },
): Promise<void> {
  await addClient(qmp, displayType(definition, client.index), client.fd, client.skipAuth);
}

function displayType(definition: DomainDef, index: number): 'vnc' | 'spice' {
  const type = definition.devices.graphics[index]?.type;
  if (type === 'vnc' || type === 'spice') return type;
  throw new VirtError('domain.no-device', {
    wanted: `open display ${index} of domain '${definition.name}'`,
    reason:
      type === undefined ? 'the domain has no such display' : `a display of type ${type} takes no clients`,
  });
}

async function addClient(
  qmp: QmpClient,
  protocol: 'vnc' | 'spice',
  fd: number,
  skipAuth: boolean,
): Promise<void> {
  const fdname = `graphics-${randomUUID()}`;
  await qmp.passDescriptor(fdname, fd);
  try {
    await qmp.execute('add_client', { protocol, fdname, skipauth: skipAuth });
  } catch (error) {
    // The first error is the one to tell; QEMU may have taken the descriptor already.
    await qmp.execute('closefd', { fdname }).catch(() => undefined);
    throw error;
  }
}
