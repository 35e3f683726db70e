/** Changes of a running guest and of its stored definition: in which order, and what is told when one of them fails. */
import { expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { changeAndStore, type ToStore } from '../../../src/daemon/services/change-and-store.ts';
import { Domain } from '../../../src/daemon/services/domain.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';

const domain = new Domain('00000000-0000-4000-8000-000000000001', 'web');
const { definition: stored } = parseDomain(
  "<domain type='qemu'><name>web</name><memory>1024</memory><os><type>hvm</type></os></domain>",
  { mode: 'lenient' },
);
/** Nothing runs here: no status is written, nothing logged. */
const world = { runtime: {}, log: silentLogger } as unknown as ToStore['world'];
const full = new VirtError('file.no-space', { wanted: 'write a file', reason: '/x: no space left' });

/** A store that fails before the work that is done within it, after it, or not at all; and what was done in which order. */
function store(fails: 'never' | 'before' | 'after') {
  const done: string[] = [];
  const replaceStored = async (_domain: Domain, _definition: unknown, before?: () => Promise<void>) => {
    if (fails === 'before') throw full;
    await before?.();
    if (fails === 'after') throw full;
    done.push('stored');
  };
  const change = () => {
    done.push('guest');
    return Promise.resolve('alias');
  };
  return { done, change, definitions: { replaceStored } };
}

it('change the guest first where both are meant, and give its answer', async () => {
  const { done, change, definitions } = store('never');
  expect(await changeAndStore(domain, { world, definitions, stored }, change)).toBe('alias');
  expect(done).toEqual(['guest', 'stored']);
  expect(await changeAndStore(domain, { world, definitions, stored: undefined }, change)).toBe('alias');
  expect(done).toEqual(['guest', 'stored', 'guest']);
});

it('do nothing to the guest when the definition does not fit on the disk', async () => {
  const { done, change, definitions } = store('before');
  await expect(changeAndStore(domain, { world, definitions, stored }, change)).rejects.toBe(full);
  expect(done).toEqual([]);
});

it('store nothing when the guest refuses', async () => {
  const { done, definitions } = store('never');
  const refusal = new VirtError('qmp.failed', { reason: 'no' });
  await expect(
    changeAndStore(domain, { world, definitions, stored }, () => Promise.reject(refusal)),
  ).rejects.toBe(refusal);
  expect(done).toEqual([]);
});

it('say which was done when the definition does not get its place after all', async () => {
  const { change, definitions } = store('after');
  await expect(changeAndStore(domain, { world, definitions, stored }, change)).rejects.toMatchObject({
    code: 'file.no-space',
    reason: '/x: no space left: the running guest has the change, the stored definition has not',
  });
});
