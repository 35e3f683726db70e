/** Firmware and direct kernel boot: pflash drives or -bios, -kernel, -initrd, -append, -dtb, -acpitable. */
import type { Build } from './context.ts';

/** Adds the block nodes of UEFI code and variables; the answer is their node names, for `-machine pflash0=`. */
export function buildFirmware(b: Build): string[] {
  const { os } = b.definition;
  const { loader, nvram } = os;
  if (loader?.path === undefined) {
    if (os.firmware === 'efi') b.problem('os.firmware', 'no firmware for this machine was found on the host');
    if (loader?.secure) b.problem('os.loader', `has no path, which secure='yes' needs`);
    return [];
  }
  if (loader.type !== 'pflash') {
    if (nvram !== undefined) b.problem('os.nvram', `needs a loader of type 'pflash'`);
    b.word('-bios', b.copy(loader.path, 'os.loader'));
    return [];
  }
  if (loader.secure) buildSecureFlash(b);
  const readonly = loader.readonly ?? true;
  const nodes = [pflash(b, 0, loader.path, { readonly, format: loader.format, purpose: 'os.loader' })];
  const variables = variablesOf(b);
  if (variables !== undefined)
    nodes.push(
      pflash(b, 1, variables.path, {
        readonly: false,
        format: nvram?.format,
        purpose: 'os.nvram',
        device: variables.device,
      }),
    );
  return nodes;
}

/** Where UEFI's variables are: a path in the text, or a source of type file or block. */
function variablesOf(b: Build): { readonly path: string; readonly device: boolean } | undefined {
  const nvram = b.definition.os.nvram;
  if (nvram === undefined) return undefined;
  const { source } = nvram;
  const path =
    nvram.path ?? (source?.type === 'file' ? source.file : source?.type === 'block' ? source.dev : undefined);
  if (path === undefined) b.problem('os.nvram', 'has no path of a file or block device');
  return { path: path ?? '', device: nvram.path === undefined && source?.type === 'block' };
}

/** Only code in SMM may write the variables (QEMU docs, hw/block/pflash_cfi01.c: property secure). */
function buildSecureFlash(b: Build): void {
  if (b.isX86 && b.definition.features?.smm?.state === false)
    b.problem('features.smm', `must be on for a loader with secure='yes'`);
  b.pairs('-global', [
    ['driver', 'cfi.pflash01'],
    ['property', 'secure'],
    ['value', true],
  ]);
}

interface Flash {
  readonly readonly: boolean;
  readonly format: 'raw' | 'qcow2' | undefined;
  readonly purpose: string;
  readonly device?: boolean;
}

function pflash(b: Build, unit: number, path: string, flash: Flash): string {
  const storage = `libvirt-pflash${unit}-storage`;
  const format = `libvirt-pflash${unit}-format`;
  const device = flash.device ? { device: true } : {};
  b.json('-blockdev', {
    driver: flash.device ? 'host_device' : 'file',
    filename: b.file(path, flash.readonly ? 'ro' : 'rw', flash.purpose, device),
    'node-name': storage,
    'read-only': flash.readonly,
    discard: 'unmap',
  });
  b.json('-blockdev', {
    'node-name': format,
    'read-only': flash.readonly,
    driver: flash.format ?? 'raw',
    file: storage,
    backing: flash.format === 'qcow2' ? null : undefined,
  });
  return format;
}

/** Direct kernel boot. QEMU reads these files by name, so it gets copies in memory. */
export function buildKernel(b: Build): void {
  const { os } = b.definition;
  if (os.kernel === undefined) {
    b.refuse('os', { initrd: os.initrd, cmdline: os.cmdline }, 'needs <kernel>');
  } else {
    b.word('-kernel', b.copy(os.kernel, 'os.kernel'));
    if (os.initrd !== undefined) b.word('-initrd', b.copy(os.initrd, 'os.initrd'));
    // One word that QEMU takes as it is: -append knows no commas and no key=value.
    if (os.cmdline !== undefined) b.word('-append', os.cmdline);
  }
  if (os.dtb !== undefined) b.word('-dtb', b.copy(os.dtb, 'os.dtb'));
  b.refuse('os', { shim: os.shim });
  for (const [index, table] of os.acpiTables.entries()) {
    const file = b.copy(table.path, `os.acpi.table[${index}]`);
    // A slic or raw table is a complete one with its header: file=; data= would put a new header in front.
    if (table.type === 'rawset')
      b.problem(`os.acpi.table[${index}]`, `type 'rawset' is of another hypervisor`);
    b.pairs('-acpitable', [table.type === 'slic' ? ['sig', 'SLIC'] : ['', undefined], ['file', file]]);
  }
}
