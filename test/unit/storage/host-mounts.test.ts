/** Mounts of a sandboxed service: how the namespaces are told apart, and what systemd-run is given. */
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { byServiceManager, rootMountOf } from '../../../src/storage/host-mounts.ts';

describe('a mount namespace', () => {
  it('is known by the number of the last mount on its root', () => {
    const lines = [
      '22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw',
      '25 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw',
      '90 22 254:1 / / ro,relatime shared:1 - ext4 /dev/vda1 rw',
      '',
    ];
    expect(rootMountOf(lines.join('\n'))).toBe('90');
    expect(rootMountOf('')).toBeUndefined();
  });
});

describe('a command for the service manager', () => {
  it('gives the program its words as they are', () => {
    const { program, args } = byServiceManager({ program: 'mount', args: ['--', 'nas:/a$b', '/srv/x y'] });
    expect(program).toBe('systemd-run');
    const rest = args.slice(args.indexOf('--') + 1);
    expect(rest).toEqual(['mount', '--', 'nas:/a$$b', '/srv/x y']);
    expect(args).toContain('--wait');
    expect(args).toContain('--pipe');
  });

  it('has options that systemd-run knows', () => {
    const { program, args } = byServiceManager({ program: 'true', args: [] });
    const { stderr } = spawnSync(program, args, { encoding: 'utf8' });
    // No systemd runs where tests run: it understood everything and found nobody to ask.
    expect(stderr).not.toMatch(/unrecognized option|invalid option|Failed to parse|Unknown assignment/i);
  });
});
