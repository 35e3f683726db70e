/**
 * The same virsh, the same commands: what it shows and how it ends with libvirtd 9.0 and with vireod, both in the
 * namespaces of one private host. What differs on purpose is in docs/libvirt-differences.md.
 */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { project, withoutDefaultNetwork } from '../support/daemon.ts';
import { describeWith, hasProgram } from '../support/needs.ts';
import { acceptedDifferences } from '../support/virsh-parity/accepted.ts';
import { Comparison, parseSaid } from '../support/virsh-parity/compare.ts';

const support = join(import.meta.dirname, '../support');
const scripts = join(support, 'virsh-parity');
const DISK_BYTES = 1024 * 1024;

/** Other versions say other things here and there; what is compared with is the one that we studied. */
function versionNeed(): string[] {
  if (!hasProgram('libvirtd')) return [];
  const version = execFileSync('libvirtd', ['--version'], { encoding: 'utf8' });
  return / 9\.0\.\d+$/.test(version.trim()) ? [] : ['libvirtd of version 9.0'];
}

const programs = ['root', 'unshare', 'libvirtd', 'virsh', 'qemu-system-x86_64', 'dnsmasq', 'iptables', 'nft'];

describeWith([...programs, ...versionNeed()], 'virsh beside libvirtd 9.0', () => {
  const linesOf = (list: string) => readFileSync(join(scripts, `${list}.txt`), 'utf8').split('\n');
  // Scripts read the errors of the first list word by word; of the others the leading words are compared.
  const wordByWord = linesOf('commands');
  const commands = [...wordByWord, ...linesOf('objects'), ...linesOf('tuning'), ...linesOf('moments')];
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp('/tmp/vireo-virsh-');
    const [documents, root, out] = ['in', 'root', 'out'].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    for (const path of [documents, root, out]) await mkdir(path, { recursive: true });
    withoutDefaultNetwork(root);
    const placed = (text: string) => text.replaceAll('@DIR@', documents);
    for (const name of readdirSync(join(scripts, 'documents')))
      writeFileSync(join(documents, name), placed(readFileSync(join(scripts, 'documents', name), 'utf8')));
    writeFileSync(join(documents, 'disk.img'), '');
    writeFileSync(join(documents, 'second.img'), '');
    for (const disk of ['disk.img', 'second.img']) truncateSync(join(documents, disk), DISK_BYTES);
    await mkdir(join(documents, 'other'));
    writeFileSync(join(directory, 'commands'), placed(commands.join('\n')));
    const both = [
      join(scripts, 'beside-libvirtd.sh'),
      join(project, 'bin/vireod'),
      root,
      join(directory, 'commands'),
      out,
    ];
    const inside = [
      join(support, 'libvirt-parity/private-libvirtd.sh'),
      join(directory, 'state'),
      'bash',
      ...both,
    ];
    await promisify(execFile)('bash', inside, { timeout: 600_000 });
  }, 620_000);
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it('says the same, command by command, but for the rows of the table', () => {
    const comparison = new Comparison();
    let compared = 0;
    const disagreements = commands.flatMap((command, index) => {
      const [libvirt, vireo] = ['libvirtd', 'vireo'].map((who) =>
        join(directory, 'out', who, String(index + 1)),
      ) as [string, string];
      if (!existsSync(libvirt) || !existsSync(vireo)) return [];
      compared++;
      const [theirs, ours] = [libvirt, vireo].map((file) => parseSaid(readFileSync(file, 'utf8'))) as [
        ReturnType<typeof parseSaid>,
        ReturnType<typeof parseSaid>,
      ];
      return comparison.compare(command, theirs, ours, index < wordByWord.length ? 'exact' : 'words') ?? [];
    });
    expect(compared).toBe(commands.filter((line) => line !== '' && !line.startsWith('#')).length);
    expect(disagreements).toEqual([]);
    const stale = acceptedDifferences.filter((row) => !comparison.used.has(row));
    expect(stale.map((row) => String(row.commands))).toEqual([]);
  });

  it('has a row on the page for each difference that is meant', () => {
    const text = readFileSync(join(project, 'docs/libvirt-differences.md'), 'utf8');
    const missing = acceptedDifferences.filter(({ reason }) => !text.includes(`| ${reason} |`));
    expect(missing.map(({ reason }) => reason)).toEqual([]);
  });
});
