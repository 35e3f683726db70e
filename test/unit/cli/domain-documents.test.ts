/** Documents of domains: shown, defined, edited. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { cliRig } from './cli-rig.ts';
import { summary } from './fake-daemon.ts';
import { runCli } from './run-cli.ts';

const { daemon, vireo, vireoWithInput } = await cliRig();

describe('documents', () => {
  it('are read from a file or standard input, and warn of what was dropped', async () => {
    const file = join(daemon.directory, 'web.xml');
    writeFileSync(file, '<domain/>');
    daemon.answers = {
      'domain.define': () => ({
        domain: summary('web'),
        dropped: ['devices.toaster'],
        warnings: ["there is no network 'lan' yet"],
      }),
    };
    const { stdout, stderr } = await vireo('define', file, '--lenient');
    expect(daemon.paramsOf('domain.define')).toEqual({ xml: '<domain/>', strict: false, startAfter: false });
    expect(stdout).toContain("Domain 'web' is defined");
    expect(stderr).toContain('warning: devices.toaster is not known');
    expect(stderr).toContain("warning: there is no network 'lan' yet");
    await vireoWithInput('<domain> </domain>', 'define', '-', '--start');
    expect(daemon.paramsOf('domain.define')).toEqual({
      xml: '<domain> </domain>',
      strict: true,
      startAfter: true,
    });
  });

  it('that are not there are told without asking the daemon', async () => {
    const { code, stderr } = await vireo('define', 'nix.xml');
    expect(code).toBe(3);
    expect(stderr).toContain('/home/me/nix.xml: no such file or directory');
    expect(daemon.calls).toEqual([]);
  });

  it('of metadata can be set from standard input, shown and removed', async () => {
    daemon.answers = {
      'domain.get-metadata': () => ({ xml: "<a xmlns='u'/>" }),
      'domain.set-metadata': () => ({}),
    };
    expect((await vireo('domain', 'metadata', 'web', 'urn:a')).stdout).toBe("<a xmlns='u'/>\n");
    await vireoWithInput('<a/>', 'domain', 'metadata', 'web', 'urn:a', '--set', '-', '--key', 'app');
    expect(daemon.paramsOf('domain.set-metadata')).toEqual({
      domain: 'web',
      uri: 'urn:a',
      key: 'app',
      xml: '<a/>',
    });
    await vireo('domain', 'metadata', 'web', 'urn:a', '--remove');
    expect(daemon.paramsOf('domain.set-metadata')).toEqual({ domain: 'web', uri: 'urn:a', xml: null });
  });
});

describe('edit', () => {
  const xml = '<domain><name>web</name><uuid>u</uuid></domain>';
  // A text that was not taken stays where its writer finds it again.
  beforeEach(() => void vi.stubEnv('TMPDIR', daemon.directory));
  afterEach(() => void vi.unstubAllEnvs());
  const editor = (script: string): Record<string, string> => {
    const path = join(daemon.directory, 'editor');
    writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return { EDITOR: `${path} --wait`, PATH: '/usr/bin:/bin' };
  };
  const edit = (script: string) =>
    runCli(['edit', 'web'], { socketPath: daemon.socketPath, env: editor(script), uid: 0 });

  it('stores what the editor left, from the stored definition with its secrets', async () => {
    daemon.answers = {
      'domain.xml': () => ({ xml }),
      'domain.define': () => ({ domain: summary('web'), dropped: [], warnings: [] }),
    };
    const { code, stdout } = await edit(`sed -i 's|</domain>|<memory>1</memory></domain>|' "$2"`);
    expect(daemon.paramsOf('domain.xml')).toMatchObject({ inactive: true, secure: true });
    expect(daemon.paramsOf('domain.define')).toMatchObject({
      xml: xml.replace('</domain>', '<memory>1</memory></domain>'),
    });
    expect(stdout).toContain('counts from its next start');
    expect(code).toBe(0);
  });

  it('does nothing when nothing was changed', async () => {
    daemon.answers = { 'domain.xml': () => ({ xml }) };
    expect((await edit('exit 0')).stdout).toBe("Nothing was changed in 'web'.\n");
    expect(daemon.asked).toEqual(['domain.xml']);
  });

  it('keeps the text when the definition is refused, and tells where', async () => {
    daemon.answers = {
      'domain.xml': () => ({ xml }),
      'domain.define': () => {
        throw new VirtError('xml.invalid', { reason: 'vcpu must be positive' });
      },
    };
    const { code, stderr } = await edit(`sed -i 's|</domain>|<vcpu>0</vcpu></domain>|' "$2"`);
    expect(code).toBe(1);
    const kept = /your text is in (\S+\.xml)/.exec(stderr)?.[1];
    expect(kept).toBeDefined();
    expect(stderr).toContain('vcpu must be positive');
    expect(readFileSync(kept ?? '', 'utf8')).toContain('<vcpu>0</vcpu>');
  });

  it('refuses to make a second domain by a changed name or uuid', async () => {
    daemon.answers = { 'domain.xml': () => ({ xml }) };
    const { code, stderr } = await edit(`sed -i 's|>web<|>other<|' "$2"`);
    expect(code).toBe(2);
    expect(stderr).toContain('its name was changed from web to other');
    expect(daemon.asked).toEqual(['domain.xml']);
  });

  it('tells of an editor that failed or is not there', async () => {
    daemon.answers = { 'domain.xml': () => ({ xml }) };
    expect((await edit('exit 3')).stderr).toContain('ended with status 3');
    const missing = await runCli(['edit', 'web'], {
      socketPath: daemon.socketPath,
      env: { EDITOR: 'no-such-editor' },
    });
    expect(missing.stderr).toContain("the editor 'no-such-editor' is not installed");
  });
});
