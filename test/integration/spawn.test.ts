import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  type DetachedRequest,
  isSameProcess,
  killProcess,
  processStartTime,
  spawnDetached,
} from '../../src/base/spawn.ts';
import { spawner } from '../../src/base/spawner.ts';
import { describeWith } from '../support/needs.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vireo-spawn-'));
});
afterAll(() => rm(directory, { recursive: true }));

/** Runs a shell script detached; its output is in the file `out`. */
async function script(text: string, change: Partial<DetachedRequest> = {}) {
  const input = openSync('/dev/null', 'r');
  const output = openSync(join(directory, 'out'), 'w');
  const child = await spawnDetached({
    file: '/bin/sh',
    args: ['-c', text],
    environment: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    directory: '/',
    descriptors: [input, output, output],
    limits: { coreBytes: 0, openFiles: 2048 },
    ...change,
  });
  closeSync(input);
  closeSync(output);
  return child;
}

const output = (): Promise<string> => readFile(join(directory, 'out'), 'utf8');

describeWith(['setpriv'], 'a detached process', () => {
  it('tells its exit code, and is reaped', async () => {
    const child = await script('exit 7');
    expect(await child.ended).toEqual({ exitCode: 7 });
    expect(processStartTime(child.pid)).toBeUndefined();
  });

  it('leads its own session, with the limits, environment and descriptors it was given and no others', async () => {
    const stray = openSync('/dev/null', 'r');
    const child = await script('cut -d" " -f6 /proc/$$/stat; ulimit -n; ulimit -c; env; ls /proc/$$/fd');
    closeSync(stray);
    await child.ended;
    const lines = (await output()).trim().split('\n');
    expect(lines.slice(0, 3)).toEqual([String(child.pid), '2048', '0']);
    expect(lines.filter((line) => line.includes('=')).sort()).toEqual([
      'LC_ALL=C',
      'PATH=/usr/bin:/bin',
      'PWD=/',
    ]);
    expect(lines.filter((line) => /^\d+$/.test(line)).slice(3)).toEqual(['0', '1', '2']);
  });

  it('cannot raise its limits again, and ours are as before', async () => {
    const before = await readFile('/proc/self/limits', 'utf8');
    const go = join(directory, 'go');
    const child = await script(`until [ -e ${go} ]; do sleep 0.02; done; ulimit -Hn; ulimit -Hc`);
    // The hard limits are set when spawnDetached returns, long before a guest's code runs.
    await writeFile(go, '');
    await child.ended;
    expect(await output()).toBe('2048\n0\n');
    expect(await readFile('/proc/self/limits', 'utf8')).toBe(before);
  });

  it('is told apart from others that are started at the same time', async () => {
    const all = await Promise.all([3, 4, 5].map((code) => script(`exit ${code}`)));
    expect(await Promise.all(all.map(({ ended }) => ended))).toEqual(
      [3, 4, 5].map((exitCode) => ({ exitCode })),
    );
    expect(new Set(all.map(({ pid }) => pid)).size).toBe(3);
  });

  it('is an error when there is no such program, and nothing is left', async () => {
    await expect(script('', { file: '/no/such/program', noNewPrivileges: false })).rejects.toMatchObject({
      code: 'program.failed',
      reason: 'posix_spawn: ENOENT',
    });
  });

  it('has no signal ignored or blocked, though Node ignores SIGPIPE', async () => {
    const child = await script('grep -E "^Sig(Blk|Ign)|NoNewPrivs" /proc/self/status');
    await child.ended;
    expect((await output()).replaceAll(/\s+/g, ' ')).toBe(
      'SigBlk: 0000000000000000 SigIgn: 0000000000000000 NoNewPrivs: 1 ',
    );
  });

  it('lives on when nobody looks, and can be ended by exactly its identity', async () => {
    const child = await script('sleep 60');
    expect(isSameProcess(child)).toBe(true);
    const another = { pid: child.pid, startTimeTicks: String(Number(child.startTimeTicks) + 1) };
    expect(isSameProcess(another)).toBe(false);
    expect(killProcess(another, 'SIGKILL')).toBe(false);
    expect(isSameProcess(child)).toBe(true);
    expect(killProcess(child, 'SIGKILL')).toBe(true);
    expect(await child.ended).toEqual({ signal: 9 });
    expect(killProcess(child, 'SIGKILL')).toBe(false);
  });

  it('does not disturb children of Node itself', async () => {
    const child = await script('exit 0');
    const other = spawn('/bin/sh', ['-c', 'exit 3']);
    expect((await once(other, 'exit'))[0]).toBe(3);
    expect(await child.ended).toEqual({ exitCode: 0 });
  });

  it('never has a pid that kill(2) takes for something else', () => {
    for (const pid of [0, 1, -1, 2 ** 31, 1.5, Number.NaN])
      expect(killProcess({ pid, startTimeTicks: '1' }, 'SIGKILL')).toBe(false);
  });
});

const identity = { uid: 1_900_000_007, gid: 1_900_000_008, groups: [1_900_000_009] };

/** The thread that starts programs is there some time after it was first asked for. */
async function untilThreadIsReady(): Promise<void> {
  for (let tries = 0; !spawner.isAvailable; tries++) {
    if (tries > 500) throw new Error('the thread that starts programs does not come');
    await sleep(20);
  }
}

describeWith(['root', 'setpriv'], 'a detached process of another user', () => {
  it.each([
    ['by setpriv', false],
    ['by the thread', true],
  ])('has only the ids and groups it was given, and no capability (%s)', async (_, isUidUnused) => {
    if (isUidUnused) await untilThreadIsReady();
    const child = await script(
      'grep -E "^(Uid|Gid|Groups|Cap|NoNewPrivs|Sig(Blk|Ign))" /proc/self/status; ulimit -n',
      {
        identity,
        isUidUnused,
      },
    );
    expect(await child.ended).toEqual({ exitCode: 0 });
    const status = await output();
    expect(status).toMatch(/Uid:(\s1900000007){4}\nGid:(\s1900000008){4}\nGroups:\s1900000009/);
    expect(status).toMatch(/NoNewPrivs:\s1\n/);
    expect(status).toMatch(/\n2048\n$/);
    expect([...status.matchAll(/(?:Cap|Sig)\w+:\s(\w+)/g)].map((match) => match[1])).toEqual(
      Array(7).fill('0'.repeat(16)),
    );
  });

  it('cannot raise its limits again', async () => {
    await untilThreadIsReady();
    await chmod(directory, 0o711); // its user looks for a file there
    const go = join(directory, 'go2');
    const child = await script(`until [ -e ${go} ]; do sleep 0.02; done; ulimit -Hn; ulimit -Hc`, {
      identity,
      isUidUnused: true,
    });
    await writeFile(go, '');
    await child.ended;
    expect(await output()).toBe('2048\n0\n');
  });

  it('cannot take root back, as its saved ids are its own too', async () => {
    await untilThreadIsReady();
    const child = await script('setpriv --reuid=0 true 2>&1', {
      identity,
      isUidUnused: true,
    });
    await child.ended;
    expect(await output()).toMatch(/set.*id failed: Operation not permitted/);
  });

  it('starts in a directory that its user could not reach, and leaves us as we were', async () => {
    await untilThreadIsReady();
    const before = credentials();
    const closed = join(directory, 'closed');
    await mkdir(join(closed, 'in'), { recursive: true });
    await chmod(closed, 0o700);
    await chmod(join(closed, 'in'), 0o711);
    const children = await Promise.all(
      [3, 4, 5, 6].map((code) =>
        script(`[ -x . ] && exit ${code}`, { identity, isUidUnused: true, directory: join(closed, 'in') }),
      ),
    );
    expect(await Promise.all(children.map(({ ended }) => ended))).toEqual(
      [3, 4, 5, 6].map((exitCode) => ({ exitCode })),
    );
    expect(credentials()).toEqual(before);
  });

  it('is an error when it cannot be started, and the next one can', async () => {
    await untilThreadIsReady();
    await expect(script('', { file: '/no/such/program', identity, isUidUnused: true })).rejects.toMatchObject(
      { code: 'program.failed', reason: 'posix_spawn: ENOENT' },
    );
    const child = await script('exit 0', { identity, isUidUnused: true });
    expect(await child.ended).toEqual({ exitCode: 0 });
  });
});

/** Ids, capabilities and privileges of each of our threads but the one that starts programs, by what they say. */
function credentials(): string[] {
  const texts = readdirSync('/proc/self/task').map((task) =>
    (
      readFileSync(`/proc/self/task/${task}/status`, 'utf8').match(
        /^(Uid|Gid|Groups|Cap\w+|NoNewPrivs):.*$/gm,
      ) ?? []
    ).join('\n'),
  );
  return [...new Set(texts)].sort();
}
