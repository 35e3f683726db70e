/** Defaults of network cards. */
import { isX86 } from '../machine.ts';
import { type DefaultsFacts, type Draft, hasDevice } from './facts.ts';

/** libvirt's choice by architecture: virtio where there is no old hardware to be true to. */
function defaultModel(draft: Draft, facts: DefaultsFacts): string {
  if (!isX86(draft.os.type.arch)) return 'virtio';
  if (hasDevice(facts, 'rtl8139')) return 'rtl8139';
  return hasDevice(facts, 'e1000') ? 'e1000' : 'virtio';
}

export function defaultInterfaces(draft: Draft, facts: DefaultsFacts): void {
  for (const card of draft.devices.interfaces) {
    card.mac ??= { address: facts.newMac() };
    if (card.source.type !== 'hostdev')
      card.model ??= card.source.type === 'vdpa' ? 'virtio' : defaultModel(draft, facts);
  }
}
