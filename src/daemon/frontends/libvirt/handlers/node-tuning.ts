/** Changing the host: merging of pages, pools of huge pages, sleep. */
import { isVirtError } from '../../../../base/errors.ts';
import type { SevPlatform } from '../../../../drivers/driver.ts';
import {
  type PageSharingField,
  type SettableSharingField,
  settableSharingFields,
} from '../../../../kvm/page-sharing.ts';
import type { SuspendTarget } from '../../../../kvm/suspend.ts';
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { TypedParam } from '../../../../libvirt/protocol/objects.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { big, counted, type ParamTable, readParams, text, uint } from './params.ts';
import { bareInvalid, bytesOf, checkFlags, invalid } from './support.ts';

/** virTypedParameterFlags: the client takes texts. */
const STRING_OKAY = 4;
/** virNodeAllocPagesFlags: the count is how many there are to be; else, how many more. */
const PAGES_SET = 1;
const ALL_CELLS = -1;

/** virNodeSuspendTarget, by number, with the words of libvirt's errors. */
const suspendTargets: readonly (readonly [SuspendTarget, string])[] = [
  ['memory', 'Suspend-to-RAM'],
  ['disk', 'Suspend-to-Disk'],
  ['hybrid', 'Hybrid-Suspend'],
];

/** Figures that are unsigned int in libvirt (VIR_NODE_MEMORY_SHARED_*); the others are 64 bits wide. */
const narrow: ReadonlySet<PageSharingField> = new Set(settableSharingFields);

const settable: ParamTable = Object.fromEntries(
  settableSharingFields.map((field) => [`shm_${field}`, 'uint']),
);

export function nodeTuningHandlers({ host, cpus, log }: Engine) {
  return {
    nodeGetMemoryParameters: ({ nparams, flags }, call) => {
      checkFlags(flags, STRING_OKAY, call);
      const params = [...host.pageSharing()].map(([field, value]): TypedParam => {
        const make = narrow.has(field) ? uint : big;
        return make(`shm_${field}`, value);
      });
      return counted(params, nparams);
    },
    nodeSetMemoryParameters: ({ params, flags }, call) => {
      checkFlags(flags, 0, call);
      const given = [...readParams(params, settable)].map(
        ([name, value]) => [name.slice('shm_'.length) as SettableSharingField, Number(value)] as const,
      );
      host.setPageSharing(new Map(given));
    },
    nodeGetSevInfo: async ({ nparams, flags }, call) => {
      checkFlags(flags, STRING_OKAY, call);
      const { platform, problem } = await cpus.memoryEncryption();
      if (platform === undefined)
        throw new LibvirtError(
          errorNumber.operationUnsupported,
          `guests with SEV: ${problem?.reason ?? 'none'}; ${problem?.repair ?? ''}`,
        );
      return counted(sevParams(platform), nparams);
    },
    nodeAllocPages: async ({ pageSizes, pageCounts, startCell, cellCount, flags }, call) => {
      checkFlags(flags, PAGES_SET, call);
      if (pageSizes.length !== pageCounts.length) throw invalid('page sizes and counts of different number');
      const cells = await cellsOf(host, startCell, cellCount);
      let done = 0;
      for (const cell of cells)
        for (const [index, sizeKiB] of pageSizes.entries()) {
          const count = bytesOf(pageCounts[index] ?? 0, 'a count of pages');
          setPool(host, { cell, sizeKiB, count, isMore: (flags & PAGES_SET) === 0 });
          done++;
        }
      return { ret: done };
    },
    nodeSuspendForDuration: ({ target, duration, flags }, call) => {
      checkFlags(flags, 0, call);
      const [kind, words] = suspendTargets[target] ?? [];
      if (kind === undefined) throw bareInvalid(`Suspend target ${target}`);
      const seconds = bytesOf(duration, 'a duration');
      try {
        host.suspend(kind, seconds, (error) => log.error({ err: error }, 'the host did not go to sleep'));
      } catch (error) {
        if (isVirtError(error, 'request.invalid')) throw invalid('Suspend duration is too short');
        if (!isVirtError(error, 'request.unsupported')) throw error;
        throw new LibvirtError(errorNumber.argumentUnsupported, words ?? kind);
      }
    },
  } satisfies RemoteHandlers;
}

/** VIR_NODE_SEV_* (libvirt-host.h). */
function sevParams(platform: SevPlatform): TypedParam[] {
  return [
    text('pdh', platform.pdh),
    text('cert-chain', platform.certChain),
    ...(platform.cpu0Id === undefined ? [] : [text('cpu0-id', platform.cpu0Id)]),
    uint('cbitpos', platform.cbitpos),
    uint('reduced-phys-bits', platform.reducedPhysBits),
    uint('max-guests', platform.maxGuests),
    uint('max-es-guests', platform.maxEsGuests),
  ];
}

/** The cells that are meant; undefined is the host as a whole. @throws LibvirtError */
async function cellsOf(
  host: Engine['host'],
  startCell: number,
  cellCount: number,
): Promise<(number | undefined)[]> {
  if (startCell === ALL_CELLS) return [undefined];
  const { cells } = await host.facts();
  const last = Math.max(...cells.map(({ id }) => id));
  if (startCell > last)
    throw new LibvirtError(errorNumber.internalError, `start cell ${startCell} out of range (0-${last})`);
  return cells.map(({ id }) => id).filter((id) => id >= startCell && id < startCell + cellCount);
}

/** @throws LibvirtError operation failed, in the words of a host that has no such pages */
function setPool(host: Engine['host'], wish: Parameters<Engine['host']['setPagePool']>[0]): void {
  try {
    host.setPagePool(wish);
  } catch (error) {
    if (!isVirtError(error, 'request.invalid')) throw error;
    throw new LibvirtError(
      errorNumber.operationFailed,
      `page size or NUMA node not available: ${wish.sizeKiB} KiB, node ${wish.cell ?? ALL_CELLS}`,
    );
  }
}
