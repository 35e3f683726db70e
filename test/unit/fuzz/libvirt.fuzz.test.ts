/** Damaged messages of libvirt's protocol: each is an answer, an error of ours or the end of the connection, and soon. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it, onTestFinished } from 'vitest';
import { isVirtError } from '../../../src/base/errors.ts';
import { findCall } from '../../../src/daemon/frontends/libvirt/dispatch.ts';
import { FrameReader } from '../../../src/daemon/frontends/libvirt/framing.ts';
import { buildHandlerTable } from '../../../src/daemon/frontends/libvirt/handlers/table.ts';
import { errorBodyOf, LibvirtError } from '../../../src/libvirt/errors.ts';
import { errorBody } from '../../../src/libvirt/protocol/message.ts';
import { qemuProgram, remoteProgram } from '../../../src/libvirt/protocol/programs.ts';
import { encodeAll, XdrError, XdrReader } from '../../../src/libvirt/xdr/xdr.ts';
import { messageBytes } from '../../support/libvirt-client.ts';
import { random } from '../../support/random.ts';
import { fakeEngine } from '../libvirt/rig.ts';

const MESSAGES = Number(process.env['FUZZ_MESSAGES'] ?? 200_000);
const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 1_000_000);
const MAX_GROWTH_BYTES = 64 * 1024 * 1024;

const chance = random(SEED);
const below = (limit: number) => Math.floor(chance() * limit);

const programs = [remoteProgram, qemuProgram];
const calls = programs.flatMap((program) =>
  [...program.byNumber.values()].flatMap(({ procedure }) =>
    procedure.kind === 'call' ? [{ program: program.number, procedure }] : [],
  ),
);

/** Words that lengths and numbers are broken with. */
const words = [0, 1, 3, 4, 0x7fffffff, 0x80000000, 0xffffffff, 0x00400000, 0x00400001, 0x01000000, 40];

/** Bytes that pass for arguments here and there: words of small lengths, letters between them. */
function body(): Buffer {
  const bytes = Buffer.alloc(4 * below(24));
  for (let at = 0; at < bytes.length; at += 4) {
    const kind = below(4);
    if (kind === 0) bytes.writeUInt32BE(words[below(words.length)] ?? 0, at);
    else if (kind === 1) bytes.writeUInt32BE(below(8), at);
    else for (let i = 0; i < 4; i++) bytes[at + i] = kind === 2 ? 97 + below(26) : below(256);
  }
  return bytes;
}

function message(): Buffer {
  const { program, procedure } = calls[below(calls.length)] as (typeof calls)[number];
  const bytes = messageBytes({ program, procedure: procedure.number, serial: below(100) }, body());
  for (let damage = below(3); damage > 0; damage--) {
    const at = 4 * below(bytes.length / 4);
    // The length is broken more rarely: most messages shall come to their procedure.
    if (at > 0 || below(20) === 0) bytes.writeUInt32BE(words[below(words.length)] ?? 0, at);
  }
  return bytes;
}

/** Bytes of buffers that somebody holds: what nobody does is collected first. */
function heldBytes(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().arrayBuffers;
}

it(`takes ${MESSAGES} damaged messages (FUZZ_SEED=${SEED})`, { timeout: 120_000 }, () => {
  // What an error costs here is not the stack that nobody reads.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  onTestFinished(() => {
    Error.stackTraceLimit = stackTraceLimit;
  });
  const directory = mkdtempSync(join(tmpdir(), 'vireo-fuzz-'));
  const handlers = buildHandlerTable(fakeEngine(directory).engine);
  const client = { isOpen: true, isReadOnly: false, mustAuthenticate: false };
  const outcomes: Record<string, number> = {};
  const note = (outcome: string) => {
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  };
  const tryFrames = () => {
    const reader = new FrameReader(
      (header, frame, start, end) => {
        client.isReadOnly = below(2) === 0;
        try {
          findCall(handlers, client, header, { frame, start, end });
          note('a call');
        } catch (error) {
          if (!(error instanceof LibvirtError || error instanceof XdrError)) throw error;
          encodeAll(errorBody, errorBodyOf(error));
          note(error.name);
        }
      },
      () => false,
    );
    if (below(2) === 0) reader.trust();
    try {
      for (let i = 0; i < 20; i++) {
        const bytes = message();
        const cut = below(bytes.length);
        reader.consume(bytes.subarray(0, cut));
        reader.consume(bytes.subarray(cut));
      }
    } catch (error) {
      if (!isVirtError(error)) throw error;
      note('cut off');
    }
  };
  const before = heldBytes();
  for (let sent = 0; sent < MESSAGES; sent += 20) tryFrames();
  expect(heldBytes() - before).toBeLessThan(MAX_GROWTH_BYTES);
  expect(Object.keys(outcomes).sort()).toEqual(['LibvirtError', 'XdrError', 'a call', 'cut off']);
  rmSync(directory, { recursive: true, force: true });
});

it('decodes results of another daemon no worse: every codec of the table, on noise', () => {
  for (const { procedure } of calls)
    for (let round = 0; round < 100; round++) {
      const bytes = body();
      try {
        procedure.ret.decode(new XdrReader(bytes));
      } catch (error) {
        if (!(error instanceof XdrError)) throw error;
      }
    }
  expect(calls.length).toBeGreaterThan(380);
});
