/** `domain launch-security`, `domain set-launch-secret` and `host sev`: what they ask, and what a person sees. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { FakeDaemon } from './fake-daemon.ts';
import { type CliRun, runCli } from './run-cli.ts';

const daemon = await FakeDaemon.start({});
const directory = await mkdtemp(join(tmpdir(), 'vireo-secret-'));
afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});
beforeEach(() => {
  daemon.calls.length = 0;
  daemon.answers = {};
});

const vireo = (...args: string[]): Promise<CliRun> =>
  runCli(args, { socketPath: daemon.socketPath, stdin: Readable.from([]) });

const nothing = {
  state: null,
  policy: null,
  apiMajor: null,
  apiMinor: null,
  buildId: null,
  measurement: null,
};

describe('a guest with encrypted memory', () => {
  it('is shown with what its owner verifies', async () => {
    daemon.answers = {
      'domain.launch-security': () => ({
        kind: 'sev',
        state: 'launch-secret',
        policy: 1,
        apiMajor: 1,
        apiMinor: 55,
        buildId: 21,
        measurement: 'bWVhc3VyZWQ=',
      }),
    };
    const { stdout } = await vireo('domain', 'launch-security', 'web');
    expect(daemon.paramsOf('domain.launch-security')).toEqual({ domain: 'web' });
    for (const words of [/Kind: +sev\n/, /launch-secret/, /0x0001/, /1\.55, build 21/, /bWVhc3VyZWQ=/])
      expect(stdout).toMatch(words);
    daemon.answers = { 'domain.launch-security': () => ({ kind: null, ...nothing }) };
    expect((await vireo('domain', 'launch-security', 'web')).stdout).toBe(
      "Domain 'web' has no launch security of AMD.\n",
    );
  });

  it('gets a secret from two files, in base64 with any white space', async () => {
    const [header, secret] = [join(directory, 'header'), join(directory, 'secret')];
    await writeFile(header, 'aGVh\nZA==\n');
    await writeFile(secret, 'c2VjcmV0');
    daemon.answers = { 'domain.set-launch-secret': () => ({}) };
    const words = ['domain', 'set-launch-secret', 'web', '--header', header, '--secret', secret];
    expect((await vireo(...words)).stdout).toBe("Domain 'web' has its launch secret.\n");
    expect(daemon.paramsOf('domain.set-launch-secret')).toEqual({
      domain: 'web',
      header: 'aGVhZA==',
      secret: 'c2VjcmV0',
    });
    await vireo(...words, '--address', '0x80d000');
    expect(daemon.calls.at(-1)).toMatchObject({ params: { address: 0x80d000 } });
    expect((await vireo(...words, '--address', 'there')).stderr).toContain('is no address');
    const missing = await vireo(
      'domain',
      'set-launch-secret',
      'web',
      '--header',
      '/none',
      '--secret',
      secret,
    );
    expect(missing.stderr).toContain('/none');
  });
});

describe('the host', () => {
  it('is shown with what it has of AMD SEV, or what repairs that', async () => {
    daemon.answers = {
      'host.sev': () => ({ platform: null, reason: 'no AMD here', hint: 'buy one' }),
    };
    expect((await vireo('host', 'sev')).stdout).toMatch(/not usable: no AMD here[^]*buy one/);
    const platform = {
      cbitpos: 51,
      reducedPhysBits: 1,
      maxGuests: 59,
      maxEsGuests: 450,
      pdh: 'cGRo',
      certChain: 'Y2VydA==',
      cpu0Id: null,
    };
    daemon.answers = { 'host.sev': () => ({ platform, reason: null, hint: null }) };
    expect((await vireo('host', 'sev')).stdout).toMatch(/usable\n[^]* 59\n[^]* 450\n[^]* 51\n[^]*cGRo/);
  });
});
