/** How options become words: escaping lives in the renderer and nowhere else. */
import { describe, expect, test } from 'vitest';
import { flattenJson, renderArgs, renderValue } from '../../../src/drivers/qemu/argv/render.ts';
import type { QemuCommand } from '../../../src/drivers/qemu/argv/types.ts';

const empty: QemuCommand = {
  binary: '/usr/bin/qemu',
  args: [],
  fds: [],
  helpers: [],
  ptys: {},
  sockets: {},
  environment: {},
  setup: [],
  passthrough: [],
};

/** QEMU's own reading of a key=value list (util/qemu-option.c): a doubled comma is a comma, a single one separates. */
function parseLikeQemu(text: string): string[] {
  const parts: string[] = [];
  let part = '';
  for (let i = 0; i < text.length; i++) {
    if (text.charAt(i) !== ',') part += text.charAt(i);
    else if (text.charAt(i + 1) === ',') part += text.charAt(i++);
    else {
      parts.push(part);
      part = '';
    }
  }
  return [...parts, part];
}

describe('pairs', () => {
  test('doubles every comma, so that no value can add a key', () => {
    expect(renderValue({ pairs: [['guest', 'x,process=evil']] })).toBe('guest=x,,process=evil');
  });

  test('is read back by QEMU as it was, for any text', () => {
    let seed = 7;
    const random = (below: number) => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % below;
    const alphabet = [',', '=', ' ', 'a', '%s', "'", '"', '\\', ':', '/', 'ü', '{', '}'];
    for (let i = 0; i < 2000; i++) {
      const text = Array.from({ length: random(12) }, () => alphabet[random(alphabet.length)]).join('');
      const rendered = renderValue({
        pairs: [
          ['', 'socket'],
          ['path', text],
          ['wait', false],
        ],
      });
      expect(parseLikeQemu(rendered)).toEqual(['socket', `path=${text}`, 'wait=off']);
    }
  });

  test('leaves out what is undefined and writes booleans as on and off', () => {
    expect(
      renderValue({
        pairs: [
          ['', 'pc'],
          ['usb', false],
          ['smm', undefined],
          ['acpi', true],
        ],
      }),
    ).toBe('pc,usb=off,acpi=on');
  });
});

describe('JSON', () => {
  test('drops undefined members and keeps null', () => {
    expect(renderValue({ json: { driver: 'qcow2', backing: null, discard: undefined } })).toBe(
      '{"driver":"qcow2","backing":null}',
    );
  });

  test('writes a number of 64 bits exactly', () => {
    expect(renderValue({ json: { wwn: 0x5000c50015ea71acn } })).toBe('{"wwn":5764824127192592812}');
  });

  test('becomes dotted keys where a binary takes no JSON', () => {
    expect(
      flattenJson({ type: 'user', server: { host: 'a', ports: [1, 2] }, none: null, gone: undefined }),
    ).toEqual([
      ['type', 'user'],
      ['server.host', 'a'],
      ['server.ports.0', 1],
      ['server.ports.1', 2],
    ]);
  });
});

describe('the whole command', () => {
  test('puts the fdsets first and the passthrough last', () => {
    const command: QemuCommand = {
      ...empty,
      args: [{ flag: '-S' }, { flag: '-uuid', value: 'u' }],
      fds: [
        { kind: 'listen', path: '/q', fd: 3 },
        { kind: 'file', path: '/a', access: 'rw', set: 1, fd: 4, roFd: 5, purpose: 'p' },
        { kind: 'copy', path: '/k', fd: 6, purpose: 'p' },
      ],
      passthrough: ['-foo', 'a,b'],
    };
    expect(renderArgs(command)).toEqual([
      '-add-fd',
      'fd=4,set=1',
      '-add-fd',
      'fd=5,set=1',
      '-S',
      '-uuid',
      'u',
      '-foo',
      'a,b',
    ]);
  });
});
