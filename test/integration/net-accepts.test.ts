/** What the golden files promise, said to the real programs in a namespace: they take it, and print it back unchanged. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWith } from '../support/needs.ts';
import { netGoldenCases, netGoldenDirectory } from '../support/net-lab/xml-plans.ts';

const golden = (name: string): string => readFileSync(`${netGoldenDirectory}${name}`, 'utf8');

/** Runs a script in a network namespace that ends with it. */
function inNamespace(script: string, input: string): string {
  return execFileSync('unshare', ['--net', 'sh', '-ec', script], { input, encoding: 'utf8' });
}

const rulesOf = (text: string): string[] => text.split('\n').filter((line) => line.startsWith('-A LIBVIRT'));

describeWith(['root', 'nft', 'unshare'], 'nft', () => {
  it.each(netGoldenCases)('takes the rules of %s', (name) => {
    const listed = inNamespace('nft -f -; nft list ruleset', golden(`${name}.nft`));
    const wanted = golden(`${name}.nft`).match(/comment "vireo:[^"]*"/g) ?? [];
    expect((listed.match(/comment "vireo:[^"]*"/g) ?? []).toSorted()).toEqual(wanted.toSorted());
  });
});

describeWith(['root', 'iptables-restore', 'ip6tables-restore', 'unshare'], 'iptables', () => {
  it.each(netGoldenCases)('takes the rules of %s and prints them as they were written', (name) => {
    const [, four = '', six = ''] = golden(`${name}.iptables`).split(/^# IPv[46]\n/m);
    for (const [prefix, text] of [
      ['iptables', four],
      ['ip6tables', six],
    ] as const) {
      const saved = inNamespace(`${prefix}-restore --noflush --wait; ${prefix}-save`, text);
      expect(rulesOf(saved).toSorted()).toEqual(rulesOf(text).toSorted());
    }
  });
});

describeWith(['dnsmasq'], 'dnsmasq', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'vireo-dnsmasq-'));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const served = netGoldenCases.filter((name) => !golden(`${name}.dnsmasq`).startsWith('no dnsmasq'));

  it.each(served)('takes the configuration of %s', (name) => {
    const file = join(directory, `${name}.conf`);
    const [config = ''] = golden(`${name}.dnsmasq`).split('## hosts\n');
    writeFileSync(file, config);
    expect(() => execFileSync('dnsmasq', ['--test', `--conf-file=${file}`], { stdio: 'pipe' })).not.toThrow();
  });
});
