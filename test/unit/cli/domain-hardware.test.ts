/** IO threads and the period of memory statistics on the command line. */
import { expect, it } from 'vitest';
import { cliRig } from './cli-rig.ts';

const { daemon, vireo } = await cliRig();

it('adds and removes IO threads, where it is told to', async () => {
  daemon.answers = { 'domain.iothread.add': () => ({}), 'domain.iothread.remove': () => ({}) };
  expect(await vireo('domain', 'iothread', 'add', 'web', '2', '--live')).toMatchObject({
    code: 0,
    stdout: "Domain 'web' has IO thread 2.\n",
  });
  expect(daemon.paramsOf('domain.iothread.add')).toEqual({ domain: 'web', id: 2, live: true });
  expect(await vireo('domain', 'iothread', 'remove', 'web', '2')).toMatchObject({
    code: 0,
    stdout: "Domain 'web' no longer has IO thread 2.\n",
  });
  expect(daemon.paramsOf('domain.iothread.remove')).toEqual({ domain: 'web', id: 2 });
  expect(await vireo('domain', 'iothread', 'add', 'web', '0')).toMatchObject({ code: 2, stdout: '' });
});

it('sets how often a guest tells of its memory, or that it does not', async () => {
  daemon.answers = { 'domain.set-memory-stats-period': () => ({}) };
  const set = async (seconds: string) =>
    (await vireo('domain', 'set-memory-stats-period', 'web', seconds, '--stored')).stdout;
  expect(await set('5')).toBe("Domain 'web' tells of its memory every 5 seconds.\n");
  expect(daemon.paramsOf('domain.set-memory-stats-period')).toEqual({
    domain: 'web',
    seconds: 5,
    stored: true,
  });
  expect(await set('0')).toBe("Domain 'web' tells of its memory no more.\n");
});
