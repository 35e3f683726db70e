/**
 * QEMU's sparse form of states (mapped-ram, since 9.0): each page has its own place in a file, so that several threads
 * write and read at once (multifd), and pages of zeros are holes. Source: QEMU, docs/devel/migration/mapped-ram.rst.
 */
import { isVirtError, VirtError } from '../../../base/errors.ts';
import type { SparseForm } from '../../live-memory.ts';
import type { QmpClient } from '../qmp/client.ts';

/** By this the set of descriptors is known for ours, also to a daemon that was not there when it was made. */
const OPAQUE = 'vireo-memory';

/** @throws VirtError qemu.lacks */
export async function requireSparse(qmp: QmpClient, wanted: string): Promise<void> {
  const known = await qmp.execute('query-migrate-capabilities');
  if (!known.some(({ capability }) => capability === 'mapped-ram')) throw lacks(wanted);
}

/** A transfer that QEMU is prepared for; disposed of, QEMU is as it was. */
export interface Prepared extends AsyncDisposable {
  /** Where QEMU writes to or reads from. */
  readonly uri: string;
  /** Leaves QEMU as it is: it does not answer, and whoever settles the transfer later tidies up. */
  leave(): void;
}

/**
 * Prepares QEMU for one transfer in that form. Disposed of, QEMU is as it was, also after a failure: while the form is
 * chosen, QEMU refuses every other transfer.
 * @throws VirtError qemu.lacks, qmp.*
 */
export async function beginSparse(
  qmp: QmpClient,
  fd: number,
  { offsetBytes, channels, directFd }: SparseForm,
  wanted: string,
): Promise<Prepared> {
  await requireSparse(qmp, wanted);
  try {
    await setCapabilities(qmp, true);
    await qmp.execute('migrate-set-parameters', { 'multifd-channels': channels });
    if (directFd !== undefined) await goPastCache(qmp, wanted);
    const { set } = await qmp.addDescriptor(fd, { opaque: OPAQUE });
    if (directFd !== undefined) await qmp.addDescriptor(directFd, { 'fdset-id': set, opaque: OPAQUE });
    let isLeft = false;
    return {
      uri: `file:/dev/fdset/${set},offset=${offsetBytes}`,
      leave: () => {
        isLeft = true;
      },
      [Symbol.asyncDispose]: async () => {
        if (!isLeft) await forgetSparse(qmp);
      },
    };
  } catch (error) {
    await forgetSparse(qmp);
    throw error;
  }
}

function setCapabilities(qmp: QmpClient, state: boolean): Promise<unknown> {
  const capabilities = ['mapped-ram', 'multifd'].map((capability) => ({ capability, state }));
  return qmp.execute('migrate-set-capabilities', { capabilities });
}

async function goPastCache(qmp: QmpClient, wanted: string): Promise<void> {
  try {
    await qmp.execute('migrate-set-parameters', { 'direct-io': true });
  } catch (error) {
    if (!isVirtError(error, 'qmp.failed')) throw error;
    throw new VirtError('qemu.lacks', {
      wanted,
      reason: "this QEMU cannot move a sparse state past the host's page cache: that needs QEMU 9.1 or later",
      hint: 'leave the page cache in',
      cause: error,
    });
  }
}

/** Whatever was set up for a transfer in that form is gone then. A QEMU that has ended has nothing to forget. */
export async function forgetSparse(qmp: QmpClient): Promise<void> {
  try {
    const known = await qmp.execute('query-migrate-capabilities');
    if (!known.some(({ capability, state }) => capability === 'mapped-ram' && state)) return;
    await setCapabilities(qmp, false);
    for (const set of await qmp.execute('query-fdsets'))
      if (set.fds.some(({ opaque }) => opaque === OPAQUE))
        await qmp.execute('remove-fd', { 'fdset-id': set['fdset-id'] });
    // Last: a QEMU that has the form may be without this.
    await qmp.execute('migrate-set-parameters', { 'direct-io': false });
  } catch (error) {
    if (!isVirtError(error, 'qmp.closed') && !isVirtError(error, 'qmp.failed')) throw error;
  }
}

function lacks(wanted: string): VirtError {
  return new VirtError('qemu.lacks', {
    wanted,
    reason: 'this QEMU has no sparse form of states (mapped-ram): that needs QEMU 9.0 or later',
    hint: 'use another format: raw, or zstd for a small file',
  });
}
