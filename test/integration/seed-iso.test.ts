/** The seed of a first boot as other programs read it: both kinds of names, every byte. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { buildIso } from '../../src/storage/seed-iso/iso9660.ts';
import { seedFiles } from '../../src/storage/seed-iso/nocloud.ts';
import { describeWith } from '../support/needs.ts';

function run(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return stdout + stderr;
}

const files = [
  ...seedFiles({
    instanceId: 'i-1',
    hostname: 'web',
    user: { name: 'anna', sshKeys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1x anna@home'] },
    packages: ['nginx'],
    interfaces: [{ mac: '52:54:00:12:34:56', dhcp4: true }],
    vendorData: '#cloud-config\n{}\n',
  }),
  { name: 'empty', bytes: Buffer.alloc(0) },
  { name: `long-${'n'.repeat(59)}`, bytes: Buffer.alloc(5000, 'x') },
];

describeWith(['xorriso', 'blkid', 'python3'], 'a seed disk', () => {
  it.each(['norock', 'any'])('is read back whole (%s)', (kind) => {
    const directory = mkdtempSync(join(tmpdir(), 'vireo-seed-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const iso = join(directory, 'seed.iso');
    writeFileSync(iso, buildIso({ volumeId: 'cidata', files, createdAt: new Date('2026-11-21T10:11:12Z') }));
    expect(run('blkid', '-p', iso)).toMatch(/LABEL="cidata".*TYPE="iso9660"/);
    const out = join(directory, 'out');
    const said = run('xorriso', '-read_fs', kind, '-osirrox', 'on', '-indev', iso, '-extract', '/', out);
    expect(said).not.toMatch(/WARNING|SORRY|FAILURE/);
    expect(readdirSync(out).sort()).toEqual(files.map(({ name }) => name).sort());
    for (const { name, bytes } of files) expect(readFileSync(join(out, name)).equals(bytes)).toBe(true);
    const parse = 'import json, sys; json.load(open(sys.argv[1]))';
    run('python3', '-c', parse, join(out, 'network-config'));
  });
});
