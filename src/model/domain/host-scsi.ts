/** How a definition names a SCSI device of the host: by its place `HOST:BUS:TARGET:UNIT`, as the kernel numbers them. */
import type { Hostdev } from './devices/hostdev.ts';

type ScsiSource = Extract<Hostdev['source'], { type: 'scsi' }>;

/** `2:0:0:1` from adapter scsi_host2 and its address; undefined for an adapter that is named in another way. */
export function scsiHostPlace({ adapter, address }: ScsiSource): string | undefined {
  if (adapter === undefined || address === undefined) return undefined;
  const { name, ...others } = adapter;
  const number = /^scsi_host(\d{1,5})$/.exec(name ?? '')?.[1];
  const isPlain = Object.values(others).every((part) => part === undefined);
  if (number === undefined || !isPlain) return undefined;
  return [Number(number), address.bus, address.target, address.unit].join(':');
}
