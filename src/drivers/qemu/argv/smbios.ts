/** What SMBIOS and fw_cfg tell the guest: -smbios, -fw_cfg. */
import type { Sysinfo } from '../../../model/domain/sysinfo.ts';
import type { Build } from './context.ts';

type Smbios = Extract<Sysinfo, { type: 'smbios' }>;
type Entries = readonly { readonly name: string; readonly value?: string | undefined }[];

/** -smbios from <sysinfo type='smbios'> when <os><smbios mode='sysinfo'/> asks for it, and all fw_cfg items. */
export function buildSysinfo(b: Build): void {
  const mode = b.definition.os.smbios;
  if (mode === 'host') b.problem('os.smbios.mode', `'host' is not supported; use 'sysinfo' with the values`);
  for (const [index, info] of b.definition.sysinfo.entries()) {
    if (info.type === 'fwcfg') buildFwcfg(b, info, `sysinfo[${index}]`);
    else if (mode === 'sysinfo') buildSmbios(b, info);
  }
}

function buildSmbios(b: Build, info: Smbios): void {
  table(b, 0, info.bios);
  table(b, 1, info.system);
  for (const board of info.baseBoards) table(b, 2, board.entries);
  if (info.chassis !== undefined) table(b, 3, info.chassis.entries);
  if (info.oemStrings.length > 0)
    b.pairs('-smbios', [['type', 11], ...info.oemStrings.map((entry) => ['value', entry.value] as const)]);
}

function table(b: Build, type: number, entries: Entries): void {
  const values = entries.filter((entry) => entry.value !== undefined);
  if (values.length === 0) return;
  b.pairs('-smbios', [['type', type], ...values.map((entry) => [entry.name, entry.value] as const)]);
}

function buildFwcfg(b: Build, info: Extract<Sysinfo, { type: 'fwcfg' }>, path: string): void {
  for (const [index, entry] of info.entries.entries()) {
    const at = `${path}.entry[${index}]`;
    if ((entry.file === undefined) === (entry.value === undefined))
      b.problem(at, 'needs either a file or a text');
    b.pairs('-fw_cfg', [
      ['name', entry.name],
      ['file', entry.file === undefined ? undefined : b.copy(entry.file, at)],
      ['string', entry.value],
    ]);
  }
}
