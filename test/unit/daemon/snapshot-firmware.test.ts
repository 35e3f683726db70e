/** UEFI's variables beside snapshots: kept, put back, given up. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FirmwareFiles } from '../../../src/daemon/services/snapshot-firmware.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { xml } from '../jsonrpc/service-rig.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vireo-firmware-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

it('puts back what was kept, and forgets the variables when they are to be made anew', async () => {
  const variables = join(directory, 'VARS.fd');
  const text = xml('web').replace(
    '</os>',
    `<loader readonly='yes' type='pflash'>/CODE.fd</loader><nvram>${variables}</nvram></os>`,
  );
  const { definition } = parseDomain(text, { mode: 'strict' });
  const files = new FirmwareFiles(join(directory, 'tpm'));
  const besides = { nvram: join(directory, 'kept'), tpm: join(directory, 'kept-tpm') };
  writeFileSync(variables, 'as they were');
  await files.save(definition, besides);
  writeFileSync(variables, 'changed since');
  await files.restore(definition, besides);
  expect(readFileSync(variables, 'utf8')).toBe('as they were');
  await files.reset(definition);
  expect(existsSync(variables)).toBe(false);
  await files.reset(definition);
});
