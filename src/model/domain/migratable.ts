/** The form in which another host takes a definition. */
import type { DomainDef } from './domain.ts';

type Controller = DomainDef['devices']['controllers'][number];

/**
 * The definition without controllers that every libvirt adds by itself, as libvirt leaves them out: old ones did not
 * know them as devices. They are the root of a PC's PCI bus with nothing set, and the only USB controller when it is the
 * one that a PC has by default. What takes the definition puts them where they were.
 */
export function migratableForm(definition: DomainDef): DomainDef {
  const { controllers } = definition.devices;
  const usb = controllers.filter(({ type }) => type === 'usb');
  const isImplied = (one: Controller): boolean =>
    isPlainPciRoot(one) || (usb.length === 1 && one === usb[0] && isDefaultUsb(one));
  return {
    ...definition,
    devices: { ...definition.devices, controllers: controllers.filter((one) => !isImplied(one)) },
  };
}

function isPlainPciRoot({ type, model, index, pciHole64KiB, target }: Controller): boolean {
  return (
    type === 'pci' &&
    model === 'pci-root' &&
    index === 0 &&
    pciHole64KiB === undefined &&
    target === undefined
  );
}

function isDefaultUsb({ index, model }: Controller): boolean {
  return index === 0 && (model === undefined || model === 'piix3-uhci');
}
