/** Round trips of secret definitions, held against libvirt's schema. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { formatSecret, parseSecret, secretUsageTypes } from '../../src/model/secret/secret.ts';
import { expectSchemaValid } from '../support/libvirt-schema.ts';
import { describeWith } from '../support/needs.ts';

const directory = new URL('./secret-xml/', import.meta.url).pathname;
const schema = '/usr/share/libvirt/schemas/secret.rng';
const cases = readdirSync(directory);
const read = (name: string) => readFileSync(`${directory}${name}`, 'utf8');
const parse = (xml: string) => parseSecret(xml, { mode: 'strict' }).definition;

describe('secret definitions', () => {
  it.each(cases)('%s is printed as it was', (name) => {
    expect(formatSecret(parse(read(name)))).toBe(read(name));
  });

  it('have a case for each kind of usage', () => {
    const types = cases.flatMap((name) => parse(read(name)).usage?.type ?? []);
    expect([...types].toSorted()).toEqual([...secretUsageTypes].toSorted());
  });

  it.each([
    ["<secret ephemeral='maybe'/>", 'ephemeral'],
    ["<secret><usage type='nfs'><name>a</name></usage></secret>", 'usage.type'],
    ["<secret><usage type='ceph'/></secret>", 'usage.name'],
    ["<secret><usage type='volume'><volume/></usage></secret>", 'usage.volume'],
    ["<secret><usage type='iscsi'><name>a</name></usage></secret>", 'usage.target'],
    ['<secret><value>hidden</value></secret>', 'value'],
  ])('%s is refused at %s', (xml, path) => {
    expect(() => parse(xml)).toThrow(
      expect.objectContaining({
        code: 'xml.invalid',
        details: { problems: expect.arrayContaining([expect.objectContaining({ path })]) },
      }),
    );
  });
});

describeWith(['xmllint', schema], "libvirt's schema of secrets", () => {
  it.each(cases)('holds for %s', (name) => {
    expectSchemaValid(formatSecret(parse(read(name))), schema);
  });
});
