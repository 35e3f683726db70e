/** Round trips of network documents: NAME.xml is read strictly and printed; NAME.out.xml is what is printed when it differs. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { applyNetworkDefaults } from '../../src/model/network/defaults.ts';
import { formatNetwork, parseNetwork } from '../../src/model/network/network.ts';
import { validateNetwork } from '../../src/model/network/validate/validate.ts';
import { describeWith } from '../support/needs.ts';

const directory = new URL('./network-xml/', import.meta.url).pathname;
const schema = '/usr/share/libvirt/schemas/network.rng';
const files = readdirSync(directory);
const cases = files
  .filter((name) => name.endsWith('.xml') && !name.endsWith('.out.xml'))
  .map((name) => name.slice(0, -'.xml'.length))
  .sort();

/** Documents with what the schema of libvirt 9.0 does not have yet. */
const newer: readonly string[] = ['newer'];

const read = (name: string): string => readFileSync(join(directory, name), 'utf8');
const parse = (text: string) => parseNetwork(text, { mode: 'strict' }).definition;

const facts = {
  newUuid: () => 'cccccccc-4f50-4a61-8b72-93a4b5c6d7e8',
  newMac: () => '52:54:00:00:00:01',
  freeBridgeName: () => 'virbr9',
};

describe('network documents', () => {
  test.each(cases)('%s is printed as its file says, and the same again', async (name) => {
    const first = formatNetwork(parse(read(`${name}.xml`)));
    expect(formatNetwork(parse(first))).toBe(first);
    const canonical = files.includes(`${name}.out.xml`) ? `${name}.out.xml` : `${name}.xml`;
    expect(first).toBe(read(canonical));
  });

  test.each(cases)('%s is valid with its defaults, which change nothing a second time', (name) => {
    const complete = applyNetworkDefaults(parse(read(`${name}.xml`)), facts);
    expect(validateNetwork(complete)).toEqual([]);
    expect(applyNetworkDefaults(complete, facts)).toEqual(complete);
  });

  test('defaults give what a network of one line leaves open', () => {
    const complete = applyNetworkDefaults(
      parse("<network><name>a</name><forward/><ip address='10.1.2.1'/></network>"),
      facts,
    );
    expect(formatNetwork(complete)).toBe(`<network>
  <name>a</name>
  <uuid>cccccccc-4f50-4a61-8b72-93a4b5c6d7e8</uuid>
  <forward mode='nat'/>
  <bridge name='virbr9' stp='on' delay='0'/>
  <mac address='52:54:00:00:00:01'/>
  <ip address='10.1.2.1'/>
</network>
`);
  });
});

describeWith(['xmllint', schema], "libvirt's schema", () => {
  test('accepts everything that we print', () => {
    const scratch = mkdtempSync(join(tmpdir(), 'vireo-network-'));
    onTestFinished(() => rmSync(scratch, { recursive: true, force: true }));
    const printed = cases
      .filter((name) => !newer.includes(name))
      .map((name) => {
        const file = join(scratch, `${name}.xml`);
        writeFileSync(file, formatNetwork(applyNetworkDefaults(parse(read(`${name}.xml`)), facts)));
        return file;
      });
    const { stderr } = spawnSync('xmllint', ['--noout', '--relaxng', schema, ...printed], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    expect(stderr.trim().split('\n')).toEqual(printed.map((file) => `${file} validates`));
  }, 70_000);
});
