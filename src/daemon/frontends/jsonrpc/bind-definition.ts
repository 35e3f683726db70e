/** Methods that store and forget definitions onto the domain service. */
import { VirtError } from '../../../base/errors.ts';
import { connectionWarnings } from '../../services/connection-warnings.ts';
import { removeStorage, storageOf } from '../../services/disk-volumes.ts';
import type { Domain } from '../../services/domain.ts';
import type { DomainService } from '../../services/domain-service.ts';
import type { NetworkService } from '../../services/network-service.ts';
import type { StorageService } from '../../services/storage-service.ts';
import type { Undo } from '../../undo/undo.ts';
import { undoableOf } from './bind-undo.ts';
import { summaryOf } from './domain-shapes.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';
import { trashedOf } from './storage-shapes.ts';

export interface DefinitionParts {
  readonly domains: DomainService;
  /** They tell which addresses guests have; a session has none. */
  readonly networks?: NetworkService | undefined;
  readonly storage: StorageService;
  /** Keeps what is deleted. */
  readonly undo: Undo;
}

/** @throws VirtError domain.active */
function disksToRemove(domains: DomainService, storage: StorageService, domain: Domain) {
  if (domain.isActive)
    throw new VirtError('domain.active', {
      wanted: `delete the disks of domain '${domain.name}'`,
      reason: 'the domain runs',
      hint: 'shut it down first',
    });
  return storageOf(storage, domains.definitions.definition(domain, { inactive: true }));
}

export function bindDefinitions({ domains, networks, storage, undo }: DefinitionParts) {
  const find = domainFinder(domains);
  return {
    // A client that leaves does not stop what it asked for: it may not have seen the answer, and asks again.
    'domain.define': async ({ xml, strict, startAfter }) => {
      const mode = strict ? 'strict' : 'lenient';
      const { domain, definition, dropped } = await domains.definitions.define(xml, { mode, byName: true });
      const warnings = networks === undefined ? [] : connectionWarnings(definition, networks);
      if (startAfter) await domains.lifecycle.start(domain, { paused: false });
      return { domain: summaryOf(domains, domain), dropped: [...dropped], warnings };
    },
    'domain.plan': async ({ xml, strict }) => {
      const { domain, name, dropped, changes } = await domains.plans.plan(xml, strict ? 'strict' : 'lenient');
      return {
        name,
        uuid: domain?.uuid ?? null,
        active: domain?.isActive ?? false,
        changes: changes.map((one) => ({ ...one, before: one.before ?? null, after: one.after ?? null })),
        dropped: [...dropped],
      };
    },
    'domain.undefine': async ({
      domain,
      nvram,
      tpm,
      managedSave,
      forgetSnapshots,
      removeStorage: removes,
    }) => {
      const found = find(domain);
      const disks = removes ? disksToRemove(domains, storage, found) : undefined;
      const kept = await undo.undefineDomain(found, {
        ...(nvram !== undefined && { nvram }),
        ...(tpm !== undefined && { tpm }),
        ...(managedSave !== undefined && { managedSave }),
        forgetSnapshots,
        forgetCheckpoints: forgetSnapshots,
      });
      const undoable = kept === undefined ? null : undoableOf(kept);
      if (disks === undefined) return { removed: [], kept: [], undo: undoable };
      const { removed, kept: left } = await removeStorage(storage, disks, { keep: true });
      return {
        undo: undoable,
        removed: removed.map(({ trash, ...volume }) => ({
          ...volume,
          trash: trash ? trashedOf(trash) : null,
        })),
        kept: [...left],
      };
    },
  } satisfies Partial<Handlers>;
}
