/** UEFI's variables beside snapshots: kept, put back, given up. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { refuseWithoutVariables } from '../../../src/daemon/archives/firmware.ts';
import { FirmwareFiles, refuseUncopied } from '../../../src/daemon/services/snapshot-firmware.ts';
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

const uuid = '11111111-2222-4333-8444-555555555555';
const withTpm = () =>
  parseDomain(
    xml('web')
      .replace('<name>', `<uuid>${uuid}</uuid><name>`)
      .replace('</devices>', "<tpm><backend type='emulator' version='2.0'/></tpm></devices>"),
    { mode: 'strict' },
  ).definition;

it('makes the state of a TPM what it was, and takes away what came since', async () => {
  const state = join(directory, 'tpm', uuid);
  const besides = { nvram: join(directory, 'kept'), tpm: join(directory, 'kept-tpm') };
  const files = new FirmwareFiles(join(directory, 'tpm'));
  await files.save(withTpm(), besides);
  mkdirSync(state, { recursive: true });
  writeFileSync(join(state, 'tpm2-00.permall'), 'keys');
  writeFileSync(join(state, '.lock'), '');
  await files.restore(withTpm(), besides);
  expect(readdirSync(state)).toEqual(['.lock']);

  writeFileSync(join(state, 'tpm2-00.permall'), 'keys');
  await files.save(withTpm(), besides);
  writeFileSync(join(state, 'tpm2-00.permall'), 'other keys');
  writeFileSync(join(state, 'tpm2-00.volatilestate'), 'later');
  await files.restore(withTpm(), besides);
  expect(readdirSync(state).toSorted()).toEqual(['.lock', 'tpm2-00.permall']);
  expect(readFileSync(join(state, 'tpm2-00.permall'), 'utf8')).toBe('keys');
});

it('follows no link that a guest has put among the state of its TPM', async () => {
  const state = join(directory, 'tpm', uuid);
  const secret = join(directory, 'secret');
  const besides = { nvram: join(directory, 'kept'), tpm: join(directory, 'kept-tpm') };
  const files = new FirmwareFiles(join(directory, 'tpm'));
  mkdirSync(state, { recursive: true });
  writeFileSync(secret, "the host's");
  writeFileSync(join(state, 'tpm2-00.permall'), 'keys');
  symlinkSync(secret, join(state, 'linked'));
  await files.save(withTpm(), besides);
  expect(readdirSync(besides.tpm)).toEqual(['tpm2-00.permall']);
  rmSync(join(state, 'tpm2-00.permall'));
  symlinkSync(secret, join(state, 'tpm2-00.permall'));
  await files.restore(withTpm(), besides);
  expect(readFileSync(secret, 'utf8')).toBe("the host's");
  expect(readFileSync(join(state, 'tpm2-00.permall'), 'utf8')).toBe('keys');
});

it('refuses variables that cannot be copied', () => {
  const text = xml('web').replace(
    '</os>',
    `<loader readonly='yes' type='pflash'>/CODE.fd</loader><nvram type='block'><source dev='/dev/vars'/></nvram></os>`,
  );
  const { definition } = parseDomain(text, { mode: 'strict' });
  const asked = { wanted: 'snapshot it', into: 'a snapshot', instead: 'put them into a file' };
  expect(() => refuseUncopied(definition, asked)).toThrow(/'block' cannot be kept in a snapshot/);
  expect(() => refuseWithoutVariables({ name: 'web' }, definition)).toThrow(
    expect.objectContaining({
      code: 'definition.unsupported',
      wanted: "back up domain 'web'",
      reason: "firmware variables on a source of type 'block' cannot be kept in a backup",
    }),
  );
});
