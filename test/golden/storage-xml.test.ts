/** Round trips of pool and volume documents: NAME.xml is read strictly and printed; NAME.out.xml is what is printed when it differs. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { formatPoolCapabilities } from '../../src/model/storage/pool/capabilities.ts';
import { applyPoolDefaults } from '../../src/model/storage/pool/defaults.ts';
import { formatPool, formatPoolSources, parsePool, poolTypes } from '../../src/model/storage/pool/pool.ts';
import { sourceFormatsOf, validatePool } from '../../src/model/storage/pool/validate.ts';
import { formatVolume, parseVolume } from '../../src/model/storage/volume/volume.ts';
import { describeWith } from '../support/needs.ts';

const schemas = '/usr/share/libvirt/schemas';
const facts = { newUuid: () => 'cccccccc-4f50-4a61-8b72-93a4b5c6d7e8' };
const space = { capacityBytes: 1000, allocationBytes: 400, availableBytes: 600 };

const pool = (text: string) => parsePool(text, { mode: 'strict' }).definition;
const complete = (text: string) => applyPoolDefaults(pool(text), facts);
const kinds = {
  pool: { rng: 'storagepool.rng', again: (text: string) => formatPool(pool(text)) },
  volume: {
    rng: 'storagevol.rng',
    again: (text: string) => formatVolume(parseVolume(text, { mode: 'strict' }).definition),
  },
} as const;

const directoryOf = (kind: string) => new URL(`./${kind}-xml/`, import.meta.url).pathname;
const read = (kind: string, file: string) => readFileSync(join(directoryOf(kind), file), 'utf8');
const casesOf = (kind: string) =>
  readdirSync(directoryOf(kind))
    .filter((file) => file.endsWith('.xml') && !file.endsWith('.out.xml'))
    .map((file) => file.slice(0, -'.xml'.length))
    .sort();

describe.each(['pool', 'volume'] as const)('%s documents', (kind) => {
  test.each(casesOf(kind))('%s is printed as its file says, and the same again', (name) => {
    const first = kinds[kind].again(read(kind, `${name}.xml`));
    expect(kinds[kind].again(first)).toBe(first);
    const files = readdirSync(directoryOf(kind));
    expect(first).toBe(read(kind, files.includes(`${name}.out.xml`) ? `${name}.out.xml` : `${name}.xml`));
  });
});

describe('pools', () => {
  test.each(casesOf('pool'))('%s is valid with its defaults, which change nothing a second time', (name) => {
    const definition = complete(read('pool', `${name}.xml`));
    expect(validatePool(definition)).toEqual([]);
    expect(applyPoolDefaults(definition, facts)).toEqual(definition);
  });

  test('have the sizes of an active pool, whatever a document says of them', () => {
    const text = formatPool(
      pool(
        "<pool type='dir'><name>a</name><capacity>7</capacity><target><path>/srv/a</path></target></pool>",
      ),
      { space },
    );
    expect(text).toContain(
      "<capacity unit='bytes'>1000</capacity>\n  <allocation unit='bytes'>400</allocation>",
    );
  });
});

describeWith(['xmllint', schemas], "libvirt's schemas", () => {
  const validates = (rng: string, documents: readonly string[]) => {
    const scratch = mkdtempSync(join(tmpdir(), 'vireo-storage-xml-'));
    onTestFinished(() => rmSync(scratch, { recursive: true, force: true }));
    const files = documents.map((text, i) => {
      const file = join(scratch, `${i}.xml`);
      writeFileSync(file, text);
      return file;
    });
    const { stderr } = spawnSync('xmllint', ['--noout', '--relaxng', join(schemas, rng), ...files], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    expect(stderr.trim().split('\n')).toEqual(files.map((file) => `${file} validates`));
  };

  test('accept every pool that we print', () => {
    validates(
      'storagepool.rng',
      casesOf('pool').map((name) => formatPool(complete(read('pool', `${name}.xml`)), { space })),
    );
  }, 70_000);

  test('accept every volume that we print', () => {
    validates(
      'storagevol.rng',
      casesOf('volume').map((name) => kinds.volume.again(read('volume', `${name}.xml`))),
    );
  }, 70_000);

  test('accept our capabilities', () => {
    const types = poolTypes.map((type) => ({
      type,
      isSupported: type === 'dir',
      sourceFormats: sourceFormatsOf(type),
      volumeFormats: ['raw', 'qcow2'] as const,
    }));
    validates('storagepoolcaps.rng', [formatPoolCapabilities(types)]);
  }, 70_000);
});

test('sources that were found are one document', () => {
  expect(formatPoolSources([])).toBe('<sources/>\n');
  expect(formatPoolSources([{ hosts: [], devices: [], name: 'vg0', format: 'lvm2' }])).toBe(`<sources>
  <source>
    <name>vg0</name>
    <format type='lvm2'/>
  </source>
</sources>
`);
});
