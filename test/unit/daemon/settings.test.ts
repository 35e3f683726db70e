/** Paths, arguments and configuration of the daemon. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseDaemonArguments } from '../../../src/daemon/arguments.ts';
import { loadConfig } from '../../../src/daemon/config.ts';
import { daemonPaths } from '../../../src/daemon/paths.ts';

describe('paths', () => {
  it('of the system are where the documents say', () => {
    expect(daemonPaths({ mode: 'system' })).toMatchObject({
      runtime: '/run/vireo',
      config: '/etc/vireo',
      data: '/var/lib/vireo',
      logs: '/var/log/vireo',
      cache: '/var/cache/vireo',
      socket: '/run/vireo/vireo.sock',
      images: '/var/lib/libvirt/images',
    });
  });

  it('lie below the root in both modes', () => {
    for (const mode of ['system', 'session'] as const) {
      const { mode: _mode, root: _root, ...paths } = daemonPaths({ mode, root: '/x' });
      for (const path of Object.values(paths)) expect(path.startsWith('/x/')).toBe(true);
    }
    expect(() => daemonPaths({ mode: 'system', root: 'x' })).toThrow('absolute');
  });

  it('of a session follow the XDG directories and ignore relative ones', () => {
    const environment = { HOME: '/home/a', XDG_RUNTIME_DIR: '/run/user/7', XDG_CACHE_HOME: 'nonsense' };
    expect(daemonPaths({ mode: 'session', environment })).toMatchObject({
      runtime: '/run/user/7/vireo',
      config: '/home/a/.config/vireo',
      data: '/home/a/.local/share/vireo',
      cache: '/home/a/.cache/vireo',
      images: '/home/a/.local/share/libvirt/images',
    });
    expect(daemonPaths({ mode: 'session', environment: { HOME: '/home/a' } }).runtime).toBe(
      '/home/a/.cache/vireo/run',
    );
  });
});

describe('arguments', () => {
  it('choose the mode by the user', () => {
    expect(parseDaemonArguments([], 0).mode).toBe('system');
    expect(parseDaemonArguments([], 1000).mode).toBe('session');
    expect(parseDaemonArguments(['--mode', 'session', '--root', '/r', '--no-idle-exit'], 0)).toEqual({
      mode: 'session',
      root: '/r',
      idleExitSeconds: null,
    });
  });

  it('that are wrong are refused', () => {
    for (const bad of [['--mode', 'x'], ['--nonsense'], ['--log-level', 'loud'], ['--idle-exit', '0'], ['x']])
      expect(() => parseDaemonArguments(bad, 0)).toThrow('cannot read');
  });
});

describe('configuration', () => {
  it('has defaults, and names what is wrong', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'vireo-config-'));
    const path = join(directory, 'vireod.toml');
    try {
      expect((await loadConfig(path)).qemu.start_timeout_seconds).toBe(60);
      await writeFile(path, '[qemu]\nstart_timeout_seconds = 600\n[daemon]\nhost_name = "lab"\n');
      expect(await loadConfig(path)).toMatchObject({
        qemu: { start_timeout_seconds: 600 },
        daemon: { host_name: 'lab' },
      });
      for (const [text, path_] of [
        ['[qemu]\nstart_timeout = 1\n', 'qemu'],
        ['[qemu]\nuid_base = "x"\n', 'qemu.uid_base'],
        ['[nonsense]\n', ''],
        ['not toml', 'TOML'],
      ] as const) {
        await writeFile(path, text);
        await expect(loadConfig(path), text).rejects.toMatchObject({ code: 'config.invalid' });
        if (path_ !== '') await expect(loadConfig(path)).rejects.toThrow(path_);
      }
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
