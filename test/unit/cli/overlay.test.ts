import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createOverlay, formatByName } from '../../../src/cli/overlay.ts';
import { describeWith } from '../../support/needs.ts';

const directory = mkdtempSync(join(tmpdir(), 'vireo-overlay-'));
afterAll(() => rmSync(directory, { recursive: true }));
const env = { TMPDIR: directory };

describe('the format of an image', () => {
  it.each([
    ['/a.qcow2', 'qcow2'],
    ['/a.QCOW2', 'qcow2'],
    ['/a.vmdk', 'vmdk'],
    ['/a.img', 'raw'],
    ['/a', 'raw'],
    ['/a.qcow2/b', 'raw'],
  ])('of %s is %s', (path, format) => {
    expect(formatByName(path)).toBe(format);
  });
});

describeWith(['qemu-img'], 'an overlay made by qemu-img', () => {
  const qemuImg = (...args: string[]) => expect(spawnSync('qemu-img', args).status).toBe(0);

  const headerOf = (path: string): unknown =>
    JSON.parse(spawnSync('qemu-img', ['info', '--output=json', '-f', 'qcow2', path]).stdout.toString());

  it('is based on the image, and is gone when removed', async () => {
    const base = join(directory, 'base:1.raw');
    const middle = join(directory, 'middle.qcow2');
    writeFileSync(base, Buffer.alloc(65_536));
    qemuImg('create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', `file:${base}`, middle);
    const overlay = await createOverlay({ path: middle, format: 'qcow2' }, env);
    expect(headerOf(overlay.path)).toMatchObject({
      'backing-filename': middle,
      'backing-filename-format': 'qcow2',
    });
    expect(existsSync(overlay.path)).toBe(true);
    await overlay.remove();
    expect(existsSync(dirname(overlay.path))).toBe(false);
  });

  it('is refused on an image that is not there, or of another format', async () => {
    await expect(createOverlay({ path: join(directory, 'nix'), format: 'raw' }, env)).rejects.toMatchObject({
      code: 'file.not-found',
    });
    const raw = join(directory, 'plain.raw');
    writeFileSync(raw, Buffer.alloc(65_536));
    await expect(createOverlay({ path: raw, format: 'qcow2' }, env)).rejects.toMatchObject({
      code: 'program.failed',
    });
  });

  it('never follows a backing file that a raw image pretends to have', async () => {
    const pretending = join(directory, 'guest-wrote-this.img');
    qemuImg('create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', '/etc/hostname', pretending);
    const overlay = await createOverlay({ path: pretending, format: formatByName(pretending) }, env);
    expect(headerOf(overlay.path)).toMatchObject({
      'backing-filename': pretending,
      'backing-filename-format': 'raw',
    });
    await overlay.remove();
  });
});
