/** Damaged messages of clients and of monitors: every one has an answer of the protocol, or an error of ours. */
import { expect, it } from 'vitest';
import {
  BadMessage,
  LineReader,
  LineTooLong,
  messageLimits,
  parseMessage,
} from '../../../src/api/framing.ts';
import { methods } from '../../../src/api/index.ts';
import { isVirtError } from '../../../src/base/errors.ts';
import { createLogger, silentLogger } from '../../../src/base/log.ts';
import { Answering } from '../../../src/daemon/frontends/jsonrpc/answering.ts';
import type { CallContext, Handlers } from '../../../src/daemon/frontends/jsonrpc/handlers.ts';
import { badMessage, formatError, ProtocolError } from '../../../src/daemon/frontends/jsonrpc/protocol.ts';
import { decodeMessage, isObject, LineSplitter } from '../../../src/drivers/qemu/qmp/codec.ts';
import { commands } from '../../../src/drivers/qemu/qmp/commands.ts';
import { decodeEvent } from '../../../src/drivers/qemu/qmp/events.ts';
import { applyEvent, type RunMemory } from '../../../src/drivers/qemu/run-state.ts';
import { ping, startServer } from '../jsonrpc/support.ts';
import { dictionary, Mutator } from './mutate.ts';

const FRAMES = Number(process.env['FUZZ_FRAMES'] ?? 20_000);
const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 1_000_000);

const params: readonly object[] = [
  {},
  { domain: 'web' },
  { domain: { id: 3 } },
  { domain: 'web', title: 'x' },
  { xml: '<domain/>', strict: true },
  { domain: 'web', keys: ['a', 'b'], holdMs: 10 },
  { events: ['domain.*'], domains: ['web'] },
  { name: 'web', memoryBytes: 1e9, disks: [{ path: '/a.img' }], networks: [{ type: 'user' }] },
  { domain: 'web', hostPort: 80, guestPort: 80 },
  { domain: 'web', until: 'shutoff', timeoutMs: 10 },
];

/** Handlers that take whatever passed the check of the params. */
const willing = new Proxy({}, { get: () => () => Promise.resolve({}) }) as unknown as Handlers;

const context = {
  peer: { uid: 0, gid: 0, pid: 1 },
  readOnly: false,
  signal: new AbortController().signal,
  connection: { id: 'c1', subscribe: () => 's1', unsubscribe: () => true, onClose: () => undefined },
} as unknown as CallContext;

function request(mutator: Mutator): string {
  const method = mutator.pick([...Object.keys(methods), ...dictionary]);
  const call = { jsonrpc: '2.0', id: mutator.below(1000), method, params: mutator.pick(params) };
  const message: unknown = mutator.below(10) === 0 ? [call, call] : call;
  const text = JSON.stringify(message);
  return mutator.below(2) === 0 ? mutator.mutate(text) : mutator.mutate(text, mutator.json);
}

/** Answers of one line, as a connection gives them. */
async function answersTo(answering: Answering, line: Buffer): Promise<string | undefined> {
  let message: unknown;
  try {
    message = parseMessage(line);
  } catch (error) {
    if (!(error instanceof BadMessage)) throw error;
    return formatError(null, badMessage(error).object);
  }
  if (Array.isArray(message)) return answering.answerBatch(message);
  const call = answering.read(message);
  return call instanceof ProtocolError ? formatError(call.id, call.object) : answering.answer(call);
}

function checkAnswer(text: string): string {
  const answer: unknown = JSON.parse(text);
  const [first] = Array.isArray(answer) ? (answer as unknown[]) : [answer];
  if (!isObject(first) || first['jsonrpc'] !== '2.0') throw new Error(`no answer of JSON-RPC: ${text}`);
  if (text.includes('\n') || text.length > 64 * 1024)
    throw new Error(`not one short line: ${text.slice(0, 200)}`);
  if (!('error' in first)) return 'result';
  const { error } = first;
  if (!isObject(error) || typeof error['code'] !== 'number') throw new Error(`no error object: ${text}`);
  return String(error['code']);
}

it(`answers ${FRAMES} damaged requests (FUZZ_SEED=${SEED})`, { timeout: 60_000 }, async () => {
  const mutator = new Mutator(SEED);
  const bugs: string[] = [];
  const log = createLogger({
    level: 'error',
    format: 'json',
    stream: { write: (line: string) => void bugs.push(line) },
  });
  const answering = new Answering({ handlers: willing, context, log, onRequest: () => undefined });
  const outcomes: Record<string, number> = {};
  for (let index = 0; index < FRAMES; index++) {
    const text = request(mutator);
    const reader = new LineReader(messageLimits.firstRequestBytes);
    reader.push(Buffer.from(`${text}\n`));
    for (let line = reader.next(); line !== undefined; line = reader.next()) {
      const answer = await answersTo(answering, line);
      const outcome = answer === undefined ? 'none' : checkAnswer(answer);
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    }
  }
  process.stderr.write(`request fuzz: seed ${SEED}: ${JSON.stringify(outcomes)}\n`);
  expect(bugs).toEqual([]);
  for (const wanted of ['result', '-32700', '-32600', '-32601', '-32602'])
    expect(outcomes[wanted], wanted).toBeGreaterThan(0);
});

it(`serves on after thousands of damaged messages in pieces of any size (FUZZ_SEED=${SEED})`, {
  timeout: 60_000,
}, async () => {
  const rig = await startServer({ log: silentLogger });
  const mutator = new Mutator(SEED + 1);
  const steady = await rig.raw();
  for (let round = 0; round < 40; round++) {
    const client = await rig.raw();
    for (let index = 0; index < 50 && !client.socket.destroyed; index++) {
      const bytes = Buffer.from(`${request(mutator)}\n`);
      const cut = mutator.below(bytes.length);
      client.send(bytes.subarray(0, cut));
      client.send(bytes.subarray(cut));
    }
    if (mutator.below(2) === 0) client.socket.destroy();
    expect(await steady.ask(ping(round))).toMatchObject({ id: round, result: {} });
    client.socket.destroy();
  }
});

const replies: readonly object[] = [
  { return: { status: 'running', singlestep: false, running: true }, id: 1 },
  { return: [{ label: 'charserial0', filename: 'pty:/dev/pts/3', 'frontend-open': true }], id: 2 },
  { return: {}, id: 3 },
  { error: { class: 'GenericError', desc: 'no' }, id: 4 },
  { return: 'text', id: 5 },
  { timestamp: { seconds: 1, microseconds: 2 }, event: 'STOP' },
  {
    timestamp: { seconds: 1, microseconds: 2 },
    event: 'SHUTDOWN',
    data: { guest: true, reason: 'guest-shutdown' },
  },
  {
    timestamp: { seconds: 1, microseconds: 2 },
    event: 'RESET',
    data: { guest: true, reason: 'guest-reset' },
  },
  { timestamp: { seconds: 1, microseconds: 2 }, event: 'WATCHDOG', data: { action: 'pause' } },
  { timestamp: { seconds: 1, microseconds: 2 }, event: 'RTC_CHANGE', data: { offset: 3, 'qom-path': '/a' } },
  {
    timestamp: { seconds: 1, microseconds: 2 },
    event: 'GUEST_PANICKED',
    data: { action: 'pause', info: { type: 'x' } },
  },
  {
    timestamp: { seconds: 1, microseconds: 2 },
    event: 'BLOCK_IO_ERROR',
    data: { device: 'a', action: 'stop', reason: 'b' },
  },
  {
    timestamp: { seconds: 1, microseconds: 2 },
    event: 'VSERPORT_CHANGE',
    data: { id: 'channel0', open: true },
  },
  {
    timestamp: { seconds: 1, microseconds: 2 },
    event: 'DEVICE_TRAY_MOVED',
    data: { device: 'd', id: 'i', 'tray-open': true },
  },
];

/** What a client of the monitor does with a line: an event changes the memory, a result is checked. */
function takeLine(line: Buffer, memory: RunMemory, mutator: Mutator): { memory: RunMemory; outcome: string } {
  const message = decodeMessage(line);
  if (message === undefined) return { memory, outcome: 'empty' };
  if ('return' in message) {
    const name = mutator.pick(Object.keys(commands) as (keyof typeof commands)[]);
    const { success } = commands[name].result.safeParse(message['return']);
    return { memory, outcome: success ? 'result' : 'bad result' };
  }
  const event = decodeEvent(message);
  if (event === undefined) return { memory, outcome: 'neither' };
  const next = applyEvent(event, memory, 'channel0');
  if (next.events.some(({ seconds }) => !Number.isFinite(seconds))) throw new Error('no time');
  return { memory: next.memory, outcome: 'event' };
}

it(`takes ${FRAMES} damaged messages of a monitor (FUZZ_SEED=${SEED})`, { timeout: 60_000 }, () => {
  const mutator = new Mutator(SEED + 2);
  const outcomes: Record<string, number> = {};
  let memory: RunMemory = {
    state: { state: 'running', reason: 'booted' },
    stopReason: undefined,
    isPoweredOff: false,
  };
  for (let index = 0; index < FRAMES; index++) {
    const text = JSON.stringify(mutator.pick(replies));
    const bytes = Buffer.from(
      `${mutator.below(2) === 0 ? mutator.mutate(text) : mutator.mutate(text, mutator.json)}\r\n`,
    );
    const splitter = new LineSplitter();
    const cut = mutator.below(bytes.length);
    for (const piece of [bytes.subarray(0, cut), bytes.subarray(cut)])
      for (const line of splitter.push(piece)) {
        let outcome: string;
        try {
          ({ memory, outcome } = takeLine(line, memory, mutator));
        } catch (error) {
          if (!isVirtError(error, 'qmp.protocol'))
            throw new Error(`message ${index} of seed ${SEED}: ${text}`, { cause: error });
          outcome = 'refused';
        }
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      }
  }
  process.stderr.write(`QMP fuzz: seed ${SEED}: ${JSON.stringify(outcomes)}\n`);
  for (const wanted of ['result', 'bad result', 'event', 'refused'])
    expect(outcomes[wanted], wanted).toBeGreaterThan(0);
});

it('never lets an endless line grow', () => {
  const reader = new LineReader(1000);
  reader.push(Buffer.alloc(5000, 'x'));
  expect(() => reader.next()).toThrow(LineTooLong);
});
