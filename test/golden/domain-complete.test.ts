/**
 * Completion: NAME.xml is what a user writes, NAME.out.xml what is stored, with defaults, controllers and addresses,
 * and NAME.live.xml the same with aliases. `vitest -u` writes them anew.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { assignAddresses } from '../../src/model/domain/addresses/assign.ts';
import { assignAliases } from '../../src/model/domain/aliases.ts';
import { applyDefaults } from '../../src/model/domain/defaults.ts';
import { type DomainDef, formatDomain, parseDomain } from '../../src/model/domain/domain.ts';
import { describeWith } from '../support/needs.ts';
import { testFacts } from '../unit/model/facts.ts';

const directory = new URL('./domain-complete/', import.meta.url).pathname;
const schema = '/usr/share/libvirt/schemas/domain.rng';
const cases = readdirSync(directory)
  .filter((name) => /^[^.]+\.xml$/.test(name))
  .map((name) => name.slice(0, -'.xml'.length))
  .sort();

const complete = (text: string): DomainDef =>
  assignAddresses(applyDefaults(parseDomain(text, { mode: 'strict' }).definition, testFacts()));

describe('completed definitions', () => {
  test.each(cases)('%s is stored as its .out file says', async (name) => {
    const stored = complete(readFileSync(join(directory, `${name}.xml`), 'utf8'));
    const text = formatDomain(stored, { inactive: true });
    await expect(text).toMatchFileSnapshot(join(directory, `${name}.out.xml`));
    const live = formatDomain(assignAliases(stored), { id: 7 });
    await expect(live).toMatchFileSnapshot(join(directory, `${name}.live.xml`));
  });

  test.each(cases)('%s does not change when it is completed again', (name) => {
    const stored = complete(readFileSync(join(directory, `${name}.xml`), 'utf8'));
    expect(complete(formatDomain(stored, { inactive: true }))).toEqual(stored);
    expect(assignAddresses(stored)).toEqual(stored);
    expect(assignAliases(assignAliases(stored))).toEqual(assignAliases(stored));
  });
});

// Debian has the schemas in libvirt0, xmllint in libxml2-utils.
describeWith([schema, 'xmllint'], 'complete definitions', () => {
  test("libvirt's schema accepts them all", () => {
    const files = cases.flatMap((name) => [`${name}.out.xml`, `${name}.live.xml`]);
    const { stderr, error } = spawnSync('xmllint', ['--noout', '--relaxng', schema, ...files], {
      cwd: directory,
      encoding: 'utf8',
    });
    expect(error).toBeUndefined();
    expect(stderr.trim().split('\n')).toEqual(files.map((file) => `${file} validates`));
  });
});
