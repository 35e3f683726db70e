/** Round trips of domain documents: NAME.xml is read strictly and printed; NAME.out.xml is what is printed when it differs. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { FormatOptions } from '../../src/base/xml/codec.ts';
import { formatDomain, parseDomain } from '../../src/model/domain/domain.ts';
import { describeWith } from '../support/needs.ts';

const directory = new URL('./domain-xml/', import.meta.url).pathname;
const schema = '/usr/share/libvirt/schemas/domain.rng';
const cases = readdirSync(directory)
  .filter((name) => name.endsWith('.xml') && !/\.(out|inactive)\.xml$/.test(name))
  .map((name) => name.slice(0, -'.xml'.length))
  .sort();

const read = (name: string): string => readFileSync(join(directory, name), 'utf8');

function printed(text: string, options: FormatOptions = { secure: true }): string {
  return formatDomain(parseDomain(text, { mode: 'strict' }).definition, options);
}

/** The model without foreign metadata, whose white space is not kept. */
function modelOf(text: string): unknown {
  const { metadata: _foreign, ...model } = parseDomain(text, { mode: 'strict' }).definition;
  return model;
}

describe('domain documents', () => {
  test.each(cases)('%s is printed as its file says, and the same again', (name) => {
    const first = printed(read(`${name}.xml`));
    expect(printed(first)).toBe(first);
    expect(modelOf(first)).toEqual(modelOf(read(`${name}.xml`)));
    const canonical = readdirSync(directory).includes(`${name}.out.xml`) ? `${name}.out.xml` : `${name}.xml`;
    expect(first).toBe(read(canonical));
  });

  const inactive = cases.filter((name) => readdirSync(directory).includes(`${name}.inactive.xml`));
  test.each(inactive)('%s without what is live or secret is printed as its .inactive file says', (name) => {
    expect(printed(read(`${name}.xml`), { inactive: true })).toBe(read(`${name}.inactive.xml`));
  });
});

describeWith(['xmllint', schema], "libvirt's schema", () => {
  const verdicts = new Map<string, string>();
  const scratch = mkdtempSync(join(tmpdir(), 'vireo-golden-'));

  // One xmllint for all documents: reading the schema takes most of its time. libxml2 needs time exponential in the
  // number of optional attributes of one element, so a document must not give a <driver> all it can have.
  beforeAll(() => {
    const files = cases.flatMap((name) => {
      const text = read(`${name}.xml`);
      const variants = { secure: printed(text), inactive: printed(text, { inactive: true }) };
      return Object.entries(variants).map(([variant, document]) => {
        const file = join(scratch, `${name}.${variant}.xml`);
        writeFileSync(file, document);
        return file;
      });
    });
    const { stderr } = spawnSync('xmllint', ['--noout', '--relaxng', schema, ...files], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    for (const file of files)
      if (!stderr.includes(`${file} validates\n`))
        verdicts.set(
          file,
          stderr
            .split('\n')
            .filter((line) => line.startsWith(file))
            .join('\n') || 'no verdict',
        );
  }, 70_000);
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  test('accepts everything that we print', () => {
    expect([...verdicts]).toEqual([]);
  });
});
