/** Which socket virt-ssh-helper joins its caller to. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { libvirtSocket } from '../../../src/cli/libvirt-socket.ts';

const env = { XDG_RUNTIME_DIR: '/none/run', HOME: '/home/ann' };
const ask = (uri: string, { readOnly = false, uid = 1000 } = {}) =>
  libvirtSocket({ uri, readOnly, env, uid });

it.each([
  ['qemu:///session', {}, '/none/run/libvirt/libvirt-sock'],
  ['qemu:///session', { readOnly: true }, '/none/run/libvirt/libvirt-sock'],
  ['qemu:///session?mode=direct', {}, '/none/run/libvirt/virtqemud-sock'],
  ['qemu:///system?mode=legacy', {}, '/run/libvirt/libvirt-sock'],
  ['qemu:///system?mode=legacy', { readOnly: true }, '/run/libvirt/libvirt-sock-ro'],
  ['network:///system?mode=direct', {}, '/run/libvirt/virtnetworkd-sock'],
  // Root has no session of its own in libvirt's view.
  ['qemu:///session?mode=legacy', { uid: 0 }, '/run/libvirt/libvirt-sock'],
  ['qemu:///system?socket=/srv/sock', { readOnly: true }, '/srv/sock'],
  ['remote:///?mode=legacy', {}, '/run/libvirt/libvirt-sock'],
])('%s, %o: %s', (uri, options, path) => {
  expect(ask(uri, options).path).toBe(path);
});

it('takes the modular name where it is there, as clients do', () => {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-sock-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, 'libvirt'));
  writeFileSync(join(directory, 'libvirt/virtqemud-sock'), '');
  const found = libvirtSocket({
    uri: 'qemu:///session',
    readOnly: false,
    env: { XDG_RUNTIME_DIR: directory },
    uid: 1000,
  });
  expect(found).toEqual({ path: join(directory, 'libvirt/virtqemud-sock'), isSession: true });
});

it('falls back to the cache directory without a login session', () => {
  const found = libvirtSocket({
    uri: 'qemu:///session',
    readOnly: false,
    env: { HOME: '/home/ann' },
    uid: 1000,
  });
  expect(found.path).toBe('/home/ann/.cache/libvirt/libvirt-sock');
});

it.each(['xen:///system', 'qemu', 'qemu:///system?socket=relative', 'qemu:///system?mode=odd'])(
  'refuses %s',
  (uri) => {
    expect(() => ask(uri)).toThrow(/cannot serve/);
  },
);
