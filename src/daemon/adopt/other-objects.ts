/** How pools, secrets and network filters of a libvirtd come over, each through the service that has such objects. */
import { join } from 'node:path';
import { isVirtError, VirtError } from '../../base/errors.ts';
import { builtInFilter } from '../../model/nwfilter/built-in.ts';
import { formatFilter, parseFilter } from '../../model/nwfilter/document.ts';
import type { NwFilter } from '../../model/nwfilter/filter.ts';
import { type PoolDef, parsePool } from '../../model/storage/pool/pool.ts';
import type { NwFilterService } from '../services/nwfilter-service.ts';
import type { SecretService } from '../services/secret-service.ts';
import type { StorageService } from '../services/storage-service.ts';
import { MAX_SECRET_BYTES } from '../state/secret-values.ts';
import { isFile, readDefinition, uuidIn } from './libvirt-files.ts';
import type { OtherObject, OtherObjects, Taken, TakeOver } from './others.ts';

export function otherObjects(services: {
  readonly storage: Pick<StorageService, 'definitions' | 'withName'>;
  readonly secrets: SecretService;
  /** Undefined in a session. */
  readonly nwfilters: NwFilterService | undefined;
}): OtherObjects {
  const { storage, secrets, nwfilters } = services;
  return {
    pool: {
      isKnown: (uuid, name) => [uuid, name].some((one) => one !== undefined && storage.withName(one)),
      takeOver: poolTaker(storage),
    },
    secret: {
      isKnown: (uuid) => secrets.list().some((one) => one.uuid === uuid),
      takeOver: secretTaker(secrets),
    },
    ...(nwfilters && {
      nwfilter: {
        isKnown: (_uuid, name) => nwfilters.lookup(name) !== undefined,
        takeOver: filterTaker(nwfilters),
      },
    }),
  };
}

const present: Taken = { outcome: 'present', detail: null };

function adopted(notes: readonly string[]): Taken {
  return { outcome: 'adopted', detail: notes.length === 0 ? null : notes.join('; ') };
}

const without = (dropped: readonly string[]) => (dropped.length > 0 ? [`without ${dropped.join(', ')}`] : []);

/** The storage itself is not touched: a pool that starts with libvirtd starts with the next start of this daemon. */
function poolTaker(storage: Pick<StorageService, 'definitions' | 'withName'>): TakeOver {
  return async ({ name, xml, autostart }, { places, dryRun }) => {
    const { definition, dropped } = parsePool(xml, { mode: 'lenient' });
    const known = storage.withName(definition.uuid ?? name) ?? storage.withName(name);
    if (known !== undefined && (known.uuid === definition.uuid || known.facts?.path === placeOf(definition)))
      return present;
    // storage/storage_driver.c keeps the status of an active pool there.
    const isActive = isFile(join(places.runtime, 'storage', `${name}.xml`));
    try {
      if (dryRun) storage.definitions.prepare(definition, 'lenient');
      else await storage.definitions.store(definition, 'lenient', { autostart });
    } catch (error) {
      throw poolProblem(error, name);
    }
    return adopted([
      ...without(dropped),
      ...(isActive ? [`inactive here: 'vireo pool start ${name}' brings it up`] : []),
    ]);
  };
}

const placeOf = ({ target }: PoolDef): string | undefined => target?.path;

/** The commonest case is the pool that both made for themselves at their first start. */
function poolProblem(error: unknown, name: string): unknown {
  if (!isVirtError(error, 'pool.exists')) return error;
  const reason = `${error.reason}; to have libvirt's instead: vireo pool undefine ${name}, then adopt again`;
  return new VirtError('pool.exists', { reason, cause: error });
}

/** With its value, which libvirt keeps in base64 beside the definition (conf/virsecretobj.c). */
function secretTaker(secrets: SecretService): TakeOver {
  return async (object, { dryRun }) => {
    const uuid = uuidIn(object.xml);
    if (uuid !== undefined && secrets.list().some((one) => one.uuid === uuid)) return present;
    const dropped = secrets.rehearse(object.xml, 'lenient');
    const value = await valueOf(object);
    if (!dryRun) {
      const { secret } = await secrets.define(object.xml, 'lenient');
      if (value !== undefined) await giveValue(secrets, secret.uuid, value);
    }
    value?.fill(0);
    return adopted([...without(dropped), ...(value === undefined ? ['it had no value'] : [])]);
  };
}

/** A secret that came without the value it had would be `present` the next time: it comes whole or not at all. */
async function giveValue(secrets: SecretService, uuid: string, value: Buffer): Promise<void> {
  try {
    await secrets.setValue({ uuid }, value);
  } catch (error) {
    await secrets.undefine({ uuid });
    throw error;
  }
}

/** @throws VirtError file.* */
async function valueOf({ directory, name }: OtherObject): Promise<Buffer | undefined> {
  const path = join(directory, `${name}.base64`);
  if (!isFile(path)) return undefined;
  const text = (await readDefinition(path)).trim();
  const value = Buffer.from(text, 'base64');
  if (value.toString('base64') === text && value.length <= MAX_SECRET_BYTES) return value;
  throw new VirtError('file.failed', {
    wanted: `read ${path}`,
    reason: `it is not the base64 of at most ${MAX_SECRET_BYTES} bytes`,
  });
}

/** A filter that both came with is not mentioned, unless somebody changed libvirt's: that one then takes the place of ours. */
function filterTaker(nwfilters: NwFilterService): TakeOver {
  return async ({ name, xml }, { dryRun }) => {
    const { filter, dropped } = parseFilter(xml, { mode: 'lenient' });
    const builtIn = builtInFilter(name);
    if (builtIn !== undefined && isSame(builtIn, filter)) return undefined;
    const known = nwfilters.list().find((one) => one.name === name || one.uuid === filter.uuid);
    if (known !== undefined && !known.isBuiltIn) return present;
    const isOurs = known?.isBuiltIn === true;
    // The built-in one has a uuid of its own, which whoever takes its place takes over.
    const text = isOurs ? formatFilter({ ...filter, uuid: known.uuid }) : xml;
    if (dryRun) nwfilters.rehearse(text, 'lenient');
    else await nwfilters.define(text, 'lenient');
    return adopted([...without(dropped), ...(isOurs ? ['in place of the built-in one'] : [])]);
  };
}

function isSame(a: NwFilter, b: NwFilter): boolean {
  const { uuid: _a, ...first } = a;
  const { uuid: _b, ...second } = b;
  return formatFilter(first) === formatFilter(second);
}
