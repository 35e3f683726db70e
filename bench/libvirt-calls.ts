/**
 * A bare client of libvirt's protocol, as a program: `libvirt-calls.ts SOCKET`. For each line it reads it measures one
 * round and prints a line of JSON. It runs beside either daemon, in its namespaces, so that both have the same client.
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { remoteProcedures, remoteProgram } from '../src/libvirt/protocol/programs.ts';
import { encodeAll, type Xdr } from '../src/libvirt/xdr/xdr.ts';
import { median, timeMs } from './statistics.ts';

/** One round. */
export interface LibvirtRound {
  /** Connecting, asking for authentication, opening, closing. */
  readonly openUs: number;
  /** One call after the other. */
  readonly callUs: number;
  /** Calls per second with 32 of them under way. */
  readonly pipelinedPerSecond: number;
}

const OPENS = 100;
const CALLS = 5000;
const DEPTH = 32;
const PREFIX_BYTES = 28;

type CallName = 'authList' | 'connectOpen' | 'connectClose' | 'connectGetLibVersion';

function frame(name: CallName, args: unknown): Buffer {
  const { number, args: codec } = remoteProcedures[name];
  const body = encodeAll(codec as Xdr<unknown>, args);
  const head = Buffer.alloc(PREFIX_BYTES);
  const words = [PREFIX_BYTES + body.length, remoteProgram.number, remoteProgram.version, number, 0, 1, 0];
  for (const [index, word] of words.entries()) head.writeUInt32BE(word, index * 4);
  return Buffer.concat([head, body]);
}

const frames = {
  auth: frame('authList', undefined),
  open: frame('connectOpen', { name: 'qemu:///system', flags: 0 }),
  close: frame('connectClose', undefined),
  version: frame('connectGetLibVersion', undefined),
} as const;

/** A connection that counts the replies it gets; what is in them does not matter here. */
class Caller {
  private readonly socket: Socket;
  private rest: Buffer = Buffer.alloc(0);
  private waiting: { left: number; done: () => void } | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => this.take(bytes));
  }

  static async open(path: string): Promise<Caller> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve).once('error', reject);
    });
    const caller = new Caller(socket);
    await caller.ask(frames.auth, 1);
    await caller.ask(frames.open, 1);
    return caller;
  }

  /** Sends it and waits for so many replies. */
  ask(bytes: Buffer, replies: number): Promise<void> {
    return new Promise((done) => {
      this.waiting = { left: replies, done };
      this.socket.write(bytes);
    });
  }

  async close(): Promise<void> {
    await this.ask(frames.close, 1);
    this.socket.destroy();
  }

  private take(bytes: Buffer): void {
    let rest = this.rest.length === 0 ? bytes : Buffer.concat([this.rest, bytes]);
    while (rest.length >= 4 && rest.length >= rest.readUInt32BE(0)) {
      rest = rest.subarray(rest.readUInt32BE(0));
      if (this.waiting !== undefined && --this.waiting.left === 0) this.waiting.done();
    }
    this.rest = rest;
  }
}

async function round(path: string): Promise<LibvirtRound> {
  const opens: number[] = [];
  for (let count = 0; count < OPENS; count += 1)
    opens.push(await timeMs(async () => (await Caller.open(path)).close()));
  const caller = await Caller.open(path);
  const calls: number[] = [];
  for (let count = 0; count < CALLS; count += 1)
    calls.push(await timeMs(() => caller.ask(frames.version, 1)));
  const batch = Buffer.concat(Array.from({ length: DEPTH }, () => frames.version));
  const batches = CALLS / DEPTH;
  const pipelinedMs = await timeMs(async () => {
    for (let count = 0; count < batches; count += 1) await caller.ask(batch, DEPTH);
  });
  await caller.close();
  return {
    openUs: median(opens) * 1000,
    callUs: median(calls) * 1000,
    pipelinedPerSecond: (CALLS / pipelinedMs) * 1000,
  };
}

const [path = '/run/libvirt/libvirt-sock'] = process.argv.slice(2);
for await (const _line of createInterface({ input: process.stdin }))
  process.stdout.write(`${JSON.stringify(await round(path))}\n`);
