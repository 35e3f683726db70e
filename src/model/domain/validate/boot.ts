/** Boot order: by device or by kind of device, never both, and no place twice. */
import type { Problem } from '../../../base/errors.ts';
import type { DomainDef } from '../domain.ts';
import { eachDevice } from './each-device.ts';
import { repeated } from './unique.ts';

export function bootProblems(definition: DomainDef): Problem[] {
  const ordered = eachDevice(definition.devices).filter((device) => device.boot !== undefined);
  const claims = ordered.map((device) => ({
    path: `${device.path}.boot.order`,
    key: String(device.boot?.order),
  }));
  return [
    ...repeated(claims, (order, first) => `boot order ${order} is taken by ${first}`),
    ...mixed(definition, ordered[0]?.path),
    ...repeated(
      definition.os.boot.map(({ dev }, index) => ({ path: `os.boot[${index}].dev`, key: dev })),
      (dev) => `'${dev}' is given twice`,
    ),
    ...kernelProblems(definition),
  ];
}

function mixed({ os }: DomainDef, firstOrdered: string | undefined): Problem[] {
  if (os.boot.length === 0 || firstOrdered === undefined) return [];
  const message = `<boot dev='…'/> and the boot order of single devices (${firstOrdered}) exclude each other`;
  return [{ path: 'os.boot', message }];
}

function kernelProblems({ os }: DomainDef): Problem[] {
  if (os.kernel !== undefined) return [];
  const parts = ['initrd', 'cmdline', 'dtb'] as const;
  // dtb also goes with firmware on some boards; initrd and cmdline mean nothing without a kernel.
  return parts
    .filter((part) => part !== 'dtb' && os[part] !== undefined)
    .map((part) => ({ path: `os.${part}`, message: 'needs <kernel>' }));
}
