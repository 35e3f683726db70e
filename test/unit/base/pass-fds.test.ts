/** Descriptors over unix sockets: they arrive, they are other numbers for the same files, and too many are refused. */
import { fstatSync, readdirSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import {
  close,
  FfiError,
  MAX_PASSED_FDS,
  memfdCreate,
  recvWithFds,
  sendWithFds,
  socketPair,
} from '../../../src/base/ffi.ts';

const opened = new Set<number>();

function own(...fds: readonly number[]): readonly number[] {
  for (const fd of fds) opened.add(fd);
  return fds;
}

afterEach(() => {
  for (const fd of opened) close(fd);
  opened.clear();
});

function pair(): readonly [number, number] {
  const made = socketPair();
  own(...made);
  return made;
}

function filesOpen(): number {
  return readdirSync('/proc/self/fd').length;
}

describe('descriptors over a socket', () => {
  it('arrive with their bytes, and are the same files', () => {
    const [a, b] = pair();
    const sent = own(memfdCreate('one'), memfdCreate('two'), memfdCreate('three'));
    expect(sendWithFds(a, Buffer.from('hello'), sent)).toBe(5);
    const received = recvWithFds(b, 100, 5);
    expect(received?.bytes.toString()).toBe('hello');
    own(...(received?.fds ?? []));
    expect(received?.fds.map((fd) => fstatSync(fd).ino)).toEqual(sent.map((fd) => fstatSync(fd).ino));
    expect(received?.fds.some((fd) => sent.includes(fd))).toBe(false);
  });

  it('are not needed for bytes to pass', () => {
    const [a, b] = pair();
    expect(sendWithFds(a, Buffer.from('plain'), [])).toBe(5);
    expect(recvWithFds(b, 3, 0)).toEqual({ bytes: Buffer.from('pla'), fds: [] });
    expect(recvWithFds(b, 3, 1)).toEqual({ bytes: Buffer.from('in'), fds: [] });
  });

  it('never wait: nothing there, no room, nobody there', () => {
    const [a, b] = socketPair();
    own(b);
    expect(recvWithFds(b, 10, 1)).toBeUndefined();
    const block = Buffer.alloc(65_536);
    let rounds = 0;
    while (sendWithFds(a, block, []) !== undefined) rounds += 1;
    expect(rounds).toBeGreaterThan(0);
    close(a);
    while ((recvWithFds(b, 1 << 20, 0)?.bytes.length ?? 0) > 0);
    expect(recvWithFds(b, 10, 0)).toEqual({ bytes: Buffer.alloc(0), fds: [] });
    expect(() => sendWithFds(b, Buffer.from('x'), [])).toThrow(FfiError);
  });

  it('that are too many are closed, and the reader is told', () => {
    const [a, b] = pair();
    const sent = own(memfdCreate('one'), memfdCreate('two'), memfdCreate('three'));
    const before = filesOpen();
    sendWithFds(a, Buffer.from('x'), sent);
    expect(() => recvWithFds(b, 10, 1)).toThrow(expect.objectContaining({ code: 'EMSGSIZE' }));
    sendWithFds(a, Buffer.from('x'), sent.slice(0, 1));
    expect(() => recvWithFds(b, 10, 0)).toThrow(expect.objectContaining({ code: 'EMSGSIZE' }));
    expect(filesOpen()).toBe(before);
  });

  it('go as many at once as the kernel takes, and no more', () => {
    const [a, b] = pair();
    const [one = -1] = own(memfdCreate('one'));
    expect(sendWithFds(a, Buffer.from('x'), Array<number>(MAX_PASSED_FDS).fill(one))).toBe(1);
    const received = recvWithFds(b, 10, MAX_PASSED_FDS);
    own(...(received?.fds ?? []));
    expect(received?.fds).toHaveLength(MAX_PASSED_FDS);
    expect(() => sendWithFds(a, Buffer.from('x'), Array<number>(MAX_PASSED_FDS + 1).fill(one))).toThrow(
      RangeError,
    );
    expect(() => sendWithFds(a, Buffer.alloc(0), [one])).toThrow(RangeError);
  });
});
