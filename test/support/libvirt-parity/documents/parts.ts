/** Pieces that the definitions are put together from. */

export interface Parts {
  readonly machine?: string;
  readonly os?: string;
  readonly features?: string;
  readonly top?: string;
  readonly bottom?: string;
  readonly devices?: string;
  readonly vcpu?: string;
  readonly memory?: string;
  readonly namespace?: string;
}

export function domain(name: string, parts: Parts): string {
  const { machine = 'pc', os = '', features = '<features><acpi/><apic/></features>', top = '' } = parts;
  const memory = parts.memory ?? `<memory unit='MiB'>64</memory>`;
  return `<domain type='qemu'${parts.namespace ?? ''}><name>${name}</name>${memory}${parts.vcpu ?? '<vcpu>1</vcpu>'}${top}
<os><type arch='x86_64' machine='${machine}'>hvm</type>${os}</os>${features}
<devices>${parts.devices ?? ''}</devices>${parts.bottom ?? ''}</domain>\n`;
}

export const letters = (index: number): string =>
  index < 26
    ? String.fromCharCode(97 + index)
    : `${letters(Math.floor(index / 26) - 1)}${letters(index % 26)}`;

export const disk = (bus: string, dev: string, more = '', device = 'disk'): string =>
  `<disk type='file' device='${device}'><driver name='qemu' type='raw'/><source file='/var/lib/images/${dev}.img'/><target dev='${dev}'${bus === '' ? '' : ` bus='${bus}'`}/>${more}</disk>`;

export const disks = (bus: string, prefix: string, count: number): string =>
  Array.from({ length: count }, (_, index) => disk(bus, `${prefix}${letters(index)}`)).join('');

export const nic = (model: string, source = `<interface type='user'>`): string =>
  `${source}${model === '' ? '' : `<model type='${model}'/>`}</interface>`;

export const numa = `<cpu><numa><cell id='0' cpus='0-1' memory='65536' unit='KiB'/><cell id='1' cpus='2-3' memory='65536' unit='KiB'/></numa></cpu>`;
