/** Makes a parsed pool complete: what libvirt would fill in when it stores one. */
import type { CompletePoolDef, PoolDef, PoolType } from './pool.ts';

/** What an automatic format is called, where a type has one. */
const automaticFormats: Partial<Record<PoolType, string>> = {
  fs: 'auto',
  netfs: 'auto',
  logical: 'lvm2',
  disk: 'unknown',
};

/**
 * The definition with everything filled in that it left open. Applied to its own result it changes nothing. The
 * argument stays as it is.
 */
export function applyPoolDefaults(definition: PoolDef, facts: { newUuid(): string }): CompletePoolDef {
  const source = completeSource(definition);
  const target = completeTarget(definition, source);
  return {
    ...definition,
    uuid: definition.uuid ?? facts.newUuid(),
    ...(source && { source }),
    ...(target && { target }),
  };
}

function completeSource(definition: PoolDef): PoolDef['source'] {
  const { type, name, source } = definition;
  const format = source?.format ?? automaticFormats[type];
  if (format === undefined) return source;
  const base = source ?? { hosts: [], devices: [] };
  const isGroup = type === 'logical' && base.name === undefined;
  return { ...base, ...(isGroup && { name }), format };
}

/** A volume group's volumes are where LVM puts them (lvm(8): /dev/VG/LV). */
function completeTarget(definition: PoolDef, source: PoolDef['source']): PoolDef['target'] {
  const { type, target } = definition;
  if (type !== 'logical' || source?.name === undefined) return target;
  return { ...target, path: `/dev/${source.name}` };
}
