/** How qemu-img is run: without rights, with limits, and what is made of its failures. */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openAs } from '../../src/base/mapped-files.ts';
import { convertToFile } from '../../src/storage/images/convert.ts';
import { GIB, MIB, patchy } from '../support/image-files.ts';
import { describeWith } from '../support/needs.ts';
import { run, scratch } from '../support/scratch.ts';

/** Whether the file system shows a file as another user's. */
async function canBeMapped(path: string): Promise<boolean> {
  const handle = await open(path, 'r');
  const view = await openAs(handle, 'read', 65_534);
  await Promise.all([handle.close(), view?.close()]);
  return view !== undefined;
}

describeWith(['qemu-img', 'root'], 'qemu-img run by root', () => {
  it('reads as the owner of the source, and the new image is ours', async () => {
    const directory = scratch();
    const raw = patchy(join(directory, 'raw'));
    chownSync(raw, 12_345, 12_345);
    chmodSync(raw, 0o600);
    const out = join(directory, 'out');
    await convertToFile({ path: raw, format: 'raw' }, out, { format: 'qcow2', capacityBytes: 24 * MIB });
    expect(statSync(out)).toMatchObject({ uid: 0, gid: 0 });
    run('qemu-img', 'compare', '-q', '-f', 'raw', '-F', 'qcow2', raw, out);
    chmodSync(raw, 0o600);
    chownSync(raw, 0, 0);
    const seen = new Set<number>();
    const lent = { path: raw, format: 'raw', isPrivate: true };
    const onProgress = () => void seen.add(statSync(raw).uid);
    await convertToFile(lent, `${out}3`, { format: 'qcow2', capacityBytes: 24 * MIB }, { onProgress });
    // While it ran, a file of which only we know belonged to nobody, and so did the program.
    expect([...seen]).toContain(65_534);
    expect(statSync(raw)).toMatchObject({ uid: 0, gid: 0, mode: 0o100600 });
    expect(statSync(`${out}3`)).toMatchObject({ uid: 0, gid: 0, mode: 0o100600 });
    chmodSync(raw, 0o644);
    await convertToFile({ path: raw, format: 'raw' }, `${out}2`, {
      format: 'qcow2',
      capacityBytes: 24 * MIB,
    });
    expect(statSync(`${out}2`)).toMatchObject({ uid: 0, gid: 0, mode: 0o100600 });
  });
});

describeWith(['qemu-img', 'root'], 'qemu-img', () => {
  /** What the kernel tells of the program, while it runs. */
  function lookAtChild(): Record<string, unknown> | undefined {
    for (const task of readdirSync('/proc/self/task'))
      for (const pid of readFileSync(`/proc/self/task/${task}/children`, 'utf8').split(' ')) {
        if (pid === '' || !readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('/usr/bin/qemu-img'))
          continue;
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1];
        const limits = readFileSync(`/proc/${pid}/limits`, 'utf8');
        return {
          uid: field('Uid')?.split('\t')[0],
          groups: field('Groups')?.trim(),
          caps: [field('CapPrm'), field('CapEff'), field('CapBnd')],
          noNewPrivs: field('NoNewPrivs'),
          addressSpace: /Max address space\s+(\S+)/.exec(limits)?.[1],
          coreBytes: /Max core file size\s+(\S+)/.exec(limits)?.[1],
          isInOurNetwork: readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync('/proc/self/ns/net'),
          variables: readFileSync(`/proc/${pid}/environ`, 'utf8')
            .split('\0')
            .flatMap((text) => (text === '' ? [] : [text.slice(0, text.indexOf('='))]))
            .sort(),
        };
      }
    return undefined;
  }

  it('has no rights, no network, and limits', async () => {
    const directory = scratch();
    const raw = join(directory, 'raw');
    writeFileSync(raw, randomBytes(64 * MIB));
    let seen: Record<string, unknown> | undefined;
    const onProgress = () => {
      seen ??= lookAtChild();
    };
    const none = '0000000000000000';
    // Root's own file: nobody's in a mount of its own, where the file system here has that.
    const isMapped = await canBeMapped(raw);
    for (const [isPrivate, uid] of [
      [false, isMapped ? '65534' : '0'],
      [true, '65534'],
    ] as const) {
      seen = undefined;
      chmodSync(raw, 0o600);
      const spec = { format: 'qcow2', capacityBytes: 64 * MIB, compressed: true };
      await convertToFile(
        { path: raw, format: 'raw', isPrivate },
        join(directory, `out-${isPrivate}`),
        spec,
        {
          onProgress,
        },
      );
      expect(seen).toEqual({
        uid,
        groups: '',
        caps: [none, none, none],
        noNewPrivs: '1',
        addressSpace: String(2 * GIB),
        coreBytes: '0',
        isInOurNetwork: false,
        variables: ['LC_ALL', 'PATH'],
      });
    }
  });
});
