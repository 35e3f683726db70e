/**
 * What the real libvirtd 9.0 makes of definitions, and what we make of them: the same, but for the rows of
 * docs/libvirt-differences.md.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  acceptedDifferences,
  acceptedRefusals,
  acceptedWords,
  unexplained,
  unexplainedWords,
  type View,
} from '../support/libvirt-parity/accepted.ts';
import { guestView } from '../support/libvirt-parity/argv.ts';
import { enumWords, machineWords, wordDifferences } from '../support/libvirt-parity/capabilities.ts';
import { type Difference, lineDifferences, xmlLines } from '../support/libvirt-parity/compare.ts';
import { parityDocuments } from '../support/libvirt-parity/documents.ts';
import {
  type Answer,
  askLibvirt,
  type DaemonAnswers,
  parityMachines,
} from '../support/libvirt-parity/libvirt.ts';
import { askVireo } from '../support/libvirt-parity/vireo.ts';
import { describeWith, hasProgram } from '../support/needs.ts';

/** Other versions choose differently here and there; what is compared with is the one that we studied. */
function versionNeed(): string[] {
  if (!hasProgram('libvirtd')) return [];
  const version = execFileSync('libvirtd', ['--version'], { encoding: 'utf8' });
  return / 9\.0\.\d+$/.test(version.trim()) ? [] : ['libvirtd of version 9.0'];
}

const programs = ['root', 'unshare', 'libvirtd', 'virsh', 'qemu-system-x86_64'];
const files = ['/usr/share/OVMF/OVMF_CODE_4M.fd', '/usr/share/qemu/firmware'];

describeWith([...programs, ...files, ...versionNeed()], 'beside libvirtd 9.0', () => {
  const documents = parityDocuments();
  let directory: string;
  let libvirt: DaemonAnswers;
  let vireo: DaemonAnswers;

  beforeAll(async () => {
    directory = await mkdtemp('/tmp/vireo-parity-');
    libvirt = await askLibvirt(documents, directory);
    vireo = await askVireo(documents, join(directory, 'vireo'));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  /** XML is text, a command line is words. */
  function linesOf(answer: NonNullable<Answer[View]>): string[] {
    return typeof answer === 'string' ? xmlLines(answer) : guestView(answer);
  }

  /** Differences by document, for those that both daemons answered. */
  function differences(view: View): Record<string, Difference[]> {
    const found: Record<string, Difference[]> = {};
    let compared = 0;
    for (const { name } of documents) {
      const [theirs, ours] = [libvirt.documents.get(name)?.[view], vireo.documents.get(name)?.[view]];
      if (theirs === undefined || ours === undefined) continue;
      compared++;
      const rest = unexplained(name, view, lineDifferences(linesOf(theirs), linesOf(ours)));
      if (rest.length > 0) found[name] = rest;
    }
    expect(compared).toBeGreaterThan(0);
    return found;
  }

  it('takes the documents that libvirt takes', () => {
    const refused = documents
      .map(({ name }) => name)
      .filter((name) => {
        const isTaken = (answers: DaemonAnswers): boolean =>
          answers.documents.get(name)?.inactive !== undefined;
        return isTaken(libvirt) !== isTaken(vireo) || !isTaken(libvirt);
      });
    expect(refused.toSorted()).toEqual(Object.keys(acceptedRefusals).toSorted());
  });

  it('stores the same definition', () => {
    expect(differences('inactive')).toEqual({});
  });

  it('leaves everything where it was when something is added', () => {
    expect(differences('again')).toEqual({});
  });

  it('shows the same XML of a running guest', () => {
    expect(differences('live')).toEqual({});
  });

  it('gives the guest the same hardware', () => {
    expect(differences('argv')).toEqual({});
  });

  it('offers the same machines', () => {
    const found = wordDifferences(machineWords(libvirt.capabilities), machineWords(vireo.capabilities));
    expect(unexplainedWords(found)).toEqual([]);
  });

  it.each(parityMachines)('offers the same devices for %s', (machine) => {
    const [theirs, ours] = [libvirt, vireo].map((answers) => answers.domainCapabilities[machine] ?? '');
    const found = wordDifferences(enumWords(theirs ?? ''), enumWords(ours ?? ''));
    expect(unexplainedWords(found)).toEqual([]);
  });

  it('has a row for each difference that is meant', () => {
    const text = readFileSync(new URL('../../docs/libvirt-differences.md', import.meta.url), 'utf8');
    const reasons = [...acceptedDifferences, ...acceptedWords].map(({ reason }) => reason);
    const missing = [...reasons, ...Object.values(acceptedRefusals)].filter(
      (reason) => !text.includes(`| ${reason} |`),
    );
    expect(missing).toEqual([]);
  });
});
