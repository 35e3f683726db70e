/** polkit decides about libvirt's sockets: with a system bus, polkitd and virsh of real, in namespaces of their own. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { project } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

const needs = ['root', 'unshare', 'dbus-daemon', 'dbus-send', 'pkcheck', 'virsh', 'setpriv'];
describeWith(needs, "polkit for libvirt's sockets", () => {
  let root: string;
  let said: Record<string, string>;

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'vp-'));
    chmodSync(root, 0o755);
    const namespaces = ['--mount', '--pid', '--net', '--fork', '--kill-child', '--mount-proc'];
    const script = join(import.meta.dirname, '../support/polkit-host.sh');
    const { stdout } = await execa(
      'unshare',
      [...namespaces, '--propagation', 'private', '--', 'sh', script, join(project, 'bin/vireod'), root],
      { timeout: 60_000 },
    );
    said = Object.fromEntries(
      stdout.split('\n').map((line) => {
        const [who = '', ...words] = line.split(': ');
        return [who, words.join(': ').trim()];
      }),
    );
  });

  afterAll(() => {
    rmSync(root, { recursive: true, force: true });
  });

  it('is not asked about root', () => {
    expect(said['root']).toContain('qemu:///system');
  });

  it('lets in whom a rule lets in, here the group libvirt', () => {
    expect(said['member']).toContain('qemu:///system');
  });

  it('refuses others with the words that clients know', () => {
    expect(said['other']).toContain(
      "authentication unavailable: no polkit agent available to authenticate action 'org.libvirt.unix.manage'",
    );
  });

  it('is asked about the read-only socket with the action for looking', () => {
    expect(said['looking']).toContain('libvirt-sock-ro');
    expect(said['looking']).not.toContain('error');
  });

  it('opens no other socket than those it decides about', () => {
    expect(said['modes']).toBe('666 666 660');
  });
});
