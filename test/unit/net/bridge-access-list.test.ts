/** The list of bridges for ordinary users, as qemu-bridge-helper reads it. */
import { describe, expect, it } from 'vitest';
import { allowedBridges, bridgeVerdict } from '../../../src/net/bridge-helper/access-list.ts';

const LIST = '/etc/qemu/bridge.conf';

function reader(files: Readonly<Record<string, string>>) {
  return (path: string): Promise<string> => {
    const text = files[path];
    if (text !== undefined) return Promise.resolve(text);
    const code = path.includes('secret') ? 'EACCES' : 'ENOENT';
    return Promise.reject(Object.assign(new Error(code), { code }));
  };
}

const verdict = (text: string, bridge = 'br0', more: Readonly<Record<string, string>> = {}) =>
  bridgeVerdict(bridge, LIST, reader({ [LIST]: text, ...more }));

describe('the list of allowed bridges', () => {
  const cases: readonly (readonly [string, string, string])[] = [
    ['allow br0\n', 'br0', 'allowed'],
    ['  allow \t br0  \n', 'br0', 'allowed'],
    ['# allow br0\n\n', 'br0', 'unlisted'],
    ['allow br1\n', 'br0', 'unlisted'],
    ['allow all\n', 'br7', 'allowed'],
    ['allow all\ndeny br0\n', 'br0', 'denied'],
    ['deny br0\nallow br0\n', 'br0', 'denied'],
    ['deny all\nallow br0\n', 'br0', 'denied'],
    ['deny br1\n', 'br0', 'unlisted'],
    ['', 'br0', 'unlisted'],
  ];
  it.each(cases)('%j says of %s: %s', async (text, bridge, kind) => {
    expect(await verdict(text, bridge)).toEqual({ kind });
  });

  it('takes in other files', async () => {
    const more = { '/etc/qemu/alice.conf': 'allow br5\n' };
    expect(await verdict('include /etc/qemu/alice.conf\n', 'br5', more)).toEqual({ kind: 'allowed' });
    expect(await verdict('allow br5\ninclude /etc/qemu/gone.conf\n', 'br5')).toEqual({
      kind: 'missing',
      path: '/etc/qemu/gone.conf',
    });
    expect(await verdict('include /etc/qemu/secret.conf\n', 'br5')).toEqual({
      kind: 'unreadable',
      path: '/etc/qemu/secret.conf',
    });
  });

  it('names the line of an error, and ends when files include each other', async () => {
    expect(await verdict('allow br0\npermit br1\n')).toEqual({ kind: 'faulty', path: LIST, line: 2 });
    expect(await verdict('allow\n')).toEqual({ kind: 'faulty', path: LIST, line: 1 });
    expect(await verdict(`include ${LIST}\n`)).toEqual({ kind: 'faulty', path: LIST, line: 1 });
  });

  it('lists what is left after all denials', async () => {
    const read = reader({ [LIST]: 'allow br0\nallow br1\nallow br0\ndeny br1\n' });
    expect(await allowedBridges(LIST, read)).toEqual(['br0']);
    expect(await allowedBridges('/nowhere', read)).toEqual([]);
  });
});
