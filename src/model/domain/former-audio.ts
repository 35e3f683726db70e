/** Sound that went with a display which is no more. */
import type { DomainDef } from './domain.ts';

/**
 * The definition without SPICE audio that the previous one had, when its SPICE display is gone. That backend is written
 * down with the display (`defaultAudios`) and works with no other; virt-manager changes the display alone, and has no
 * page for the other. SPICE audio that is new stays, and is refused by `validateDomain`.
 */
export function dropFormerSpiceAudio(given: DomainDef, previous: DomainDef): DomainDef {
  const hasSpice = ({ devices }: DomainDef) => devices.graphics.some(({ type }) => type === 'spice');
  if (hasSpice(given) || !hasSpice(previous)) return given;
  const former = new Set(previous.devices.audios.flatMap(({ id, type }) => (type === 'spice' ? [id] : [])));
  const audios = given.devices.audios.filter(({ id, type }) => type !== 'spice' || !former.has(id));
  return { ...given, devices: { ...given.devices, audios } };
}
