/** The address of a guest on the host's vsock, where the definition leaves it to us. */
import { createHash } from 'node:crypto';
import type { DomainDef } from '../../model/domain/domain.ts';

/** With `<cid auto='yes'/>` the address comes from the uuid: the same each time, and as good as unique on the host. */
export function withVsockCid(definition: DomainDef): DomainDef {
  const { vsock } = definition.devices;
  if (vsock?.cid?.auto !== true || vsock.cid.address !== undefined) return definition;
  const digest = createHash('sha256').update(`vsock ${definition.uuid}`).digest();
  const address = 3 + (digest.readUInt32LE(0) % 0x7fff_fff0);
  return {
    ...definition,
    devices: { ...definition.devices, vsock: { ...vsock, cid: { ...vsock.cid, address } } },
  };
}
