/**
 * What we ask of the guest agent (qemu-ga, QEMU docs/interop/qemu-ga-ref). Its answers come from inside the guest: they
 * are read as data of a stranger, checked and capped, and nobody's job waits for them.
 */
import * as z from 'zod';
import { isVirtError, oneLine, VirtError } from '../../base/errors.ts';
import { formatIp, parseIp } from '../../base/ip.ts';
import type { AgentInterface } from '../driver.ts';
import type { AgentAskOptions } from '../guest-agent.ts';
import { AgentLine } from './agent-line.ts';

/** The channel name by which hosts and guests know the agent. */
export const agentChannelName = 'org.qemu.guest_agent.0';

/** The time for one conversation (docs/security.md, limits). */
const AGENT_MS = 5000;
/** guest-shutdown answers only when it fails, so silence for this long after it means: done. */
const SILENCE_MS = 1000;

export type ShutdownMode = 'powerdown' | 'reboot' | 'halt';

/**
 * One agent, one conversation at a time: QEMU serves one connection to the channel, and answers would mix. A request
 * waits for the ones before it, each of which ends within some seconds. Questions that several ask at the same time are
 * asked once, and those that wait while the agent turns out to be silent are told so, so that however many ask, the line is short.
 */
export class Agent {
  private readonly socketPath: string;
  private turn: Promise<unknown> = Promise.resolve();
  private pinging: Promise<void> | undefined;
  private asking: Promise<AgentInterface[]> | undefined;
  /** When it was silent last. */
  private silence: Silence | undefined;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  /**
   * Asks the agent to shut the guest down. Returns when the agent has taken the request; the guest goes down later, or
   * not.
   * @throws VirtError agent.unresponsive, operation.failed when the agent refuses
   */
  shutdown(mode: ShutdownMode): Promise<void> {
    return this.inTurn(`ask the guest agent for ${mode}`, () => agentShutdown(this.socketPath, mode));
  }

  /** Sees whether it answers. @throws VirtError agent.unresponsive */
  ping(): Promise<void> {
    const wanted = 'see whether the guest agent answers';
    this.pinging ??= this.inTurn(wanted, () => converse(this.socketPath, wanted, async () => {})).finally(
      () => {
        this.pinging = undefined;
      },
    );
    return this.pinging;
  }

  /** The guest's network interfaces as it knows them. @throws VirtError agent.unresponsive, operation.failed */
  interfaces(): Promise<AgentInterface[]> {
    this.asking ??= this.inTurn('ask the guest agent for its interfaces', () =>
      agentInterfaces(this.socketPath),
    ).finally(() => {
      this.asking = undefined;
    });
    return this.asking;
  }

  /**
   * Any question; `timeoutMs` is for the answer, after the agent has shown that it listens.
   * @throws VirtError agent.unresponsive, operation.failed when the agent refuses
   */
  ask(
    command: string,
    args: Readonly<Record<string, unknown>> | undefined,
    options: AgentAskOptions = {},
  ): Promise<unknown> {
    const wanted = `ask the guest agent (${command})`;
    return this.inTurn(wanted, () => agentAsk(this.socketPath, { command, args }, options));
  }

  private inTurn<T>(wanted: string, work: () => Promise<T>): Promise<T> {
    const askedAtMs = performance.now();
    const mine = this.turn.then(() => {
      if (this.silence !== undefined && this.silence.sinceMs >= askedAtMs)
        throw silentToo(wanted, this.silence);
      return work();
    });
    // Its caller hears of the failure.
    this.turn = mine.then(
      () => undefined,
      (error: unknown) => this.noteSilence(error),
    );
    return mine;
  }

  private noteSilence(error: unknown): void {
    if (!isVirtError(error, 'agent.unresponsive') || error.details?.['isAsked'] !== false) return;
    // Who was told so did not ask: the silence lasts no longer for that.
    if (this.silence === undefined || this.silence.error !== error.cause)
      this.silence = { sinceMs: performance.now(), error };
  }
}

/** An agent that did not even answer a greeting. */
interface Silence {
  readonly sinceMs: number;
  readonly error: VirtError;
}

/** The answer to those who waited for their turn meanwhile: one after the other, each of them would wait as long for nothing. */
function silentToo(wanted: string, { error }: Silence): VirtError {
  const { code, reason, hint, details } = error;
  return new VirtError(code, {
    ...{ wanted, reason, cause: error },
    ...(hint !== undefined && { hint }),
    ...(details && { details }),
  });
}

/** Opens a line, synchronises, talks, and closes. */
async function converse<T>(
  socketPath: string,
  wanted: string,
  talk: (line: AgentLine) => Promise<T>,
  maxAnswerBytes?: number,
): Promise<T> {
  const line = new AgentLine(socketPath, wanted, maxAnswerBytes);
  try {
    await line.synchronise(AGENT_MS);
    return await talk(line);
  } finally {
    line.close();
  }
}

export function agentShutdown(socketPath: string, mode: ShutdownMode): Promise<void> {
  const wanted = `ask the guest agent for ${mode}`;
  return converse(socketPath, wanted, async (line) => {
    line.send({ execute: 'guest-shutdown', arguments: { mode } });
    // A guest that goes down at once takes QEMU with it, and the channel: that is success, too.
    const answer = await line.receive(SILENCE_MS, { mayHangUp: true });
    if (answer !== undefined) throwIfRefused(answer, wanted, 'guest-shutdown');
  });
}

export function agentInterfaces(socketPath: string): Promise<AgentInterface[]> {
  const wanted = 'ask the guest agent for its interfaces';
  return converse(socketPath, wanted, async (line) => {
    line.send({ execute: 'guest-network-get-interfaces' });
    const answer = await line.receive(AGENT_MS);
    if (answer === undefined) throw line.unresponsive(`it did not answer within ${AGENT_MS} ms`);
    throwIfRefused(answer, wanted, 'guest-network-get-interfaces');
    return readInterfaces(answer['return']);
  });
}

/** Output of programs, 16 MiB of each kind in base64, is the longest answer there is (qga/commands.c, GUEST_EXEC_MAX_OUTPUT). */
const MAX_OUTPUT_BYTES = 48 * 1024 * 1024;

function agentAsk(
  socketPath: string,
  question: { readonly command: string; readonly args: Readonly<Record<string, unknown>> | undefined },
  { timeoutMs = AGENT_MS, silenceMs }: AgentAskOptions,
): Promise<unknown> {
  const { command, args } = question;
  const wanted = `ask the guest agent (${command})`;
  const talk = async (line: AgentLine) => {
    line.send({ execute: command, ...(args && { arguments: args }) });
    const answer = await line.receive(silenceMs ?? timeoutMs, { mayHangUp: silenceMs !== undefined });
    if (answer === undefined && silenceMs !== undefined) return {};
    if (answer === undefined) throw line.unresponsive(`it did not answer within ${timeoutMs} ms`);
    throwIfRefused(answer, wanted, command);
    return answer['return'];
  };
  return converse(socketPath, wanted, talk, command === 'guest-exec-status' ? MAX_OUTPUT_BYTES : undefined);
}

/** @throws VirtError operation.failed; its details have the command, and class and text of the agent's error */
function throwIfRefused(
  answer: Readonly<Record<string, unknown>>,
  wanted: string,
  agentCommand: string,
): void {
  if (!('error' in answer)) return;
  throw new VirtError('operation.failed', {
    wanted,
    reason: `the agent says: ${oneLine(describeError(answer['error']), 300)}`,
    hint: "see inside the guest: the log of its agent, its version ('qemu-ga --version'), and the programs that it runs for this",
    details: {
      agentCommand,
      class: classOf(answer['error']),
      desc: oneLine(describeError(answer['error']), 300),
    },
  });
}

function describeError(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'desc' in error && typeof error.desc === 'string')
    return error.desc;
  return 'an error without a description';
}

/** `CommandNotFound` and `GenericError` are the classes there are (qapi/error.json). */
function classOf(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'class' in error && typeof error.class === 'string')
    return oneLine(error.class, 64);
  return 'GenericError';
}

/** More than any guest has that somebody looks at; what is beyond is left out. */
const MAX_INTERFACES = 256;
const MAX_ADDRESSES = 64;

const interfaceSchema = z.object({
  name: z.string(),
  'hardware-address': z.string().optional(),
  'ip-addresses': z.array(z.unknown()).optional(),
});
const addressSchema = z.object({ 'ip-address': z.string(), prefix: z.int().min(0).max(128) });

/** Takes what is well-formed of an answer to guest-network-get-interfaces; the rest is left out. */
export function readInterfaces(value: unknown): AgentInterface[] {
  if (!Array.isArray(value)) return [];
  return value.slice(0, MAX_INTERFACES).flatMap((one: unknown) => {
    const { success, data } = interfaceSchema.safeParse(one);
    if (!success) return [];
    const mac = data['hardware-address']?.toLowerCase();
    return [
      {
        name: oneLine(data.name, 64),
        ...(mac !== undefined && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac) && { mac }),
        addresses: (data['ip-addresses'] ?? []).slice(0, MAX_ADDRESSES).flatMap(readAddress),
      },
    ];
  });
}

function readAddress(value: unknown): AgentInterface['addresses'][number][] {
  const { success, data } = addressSchema.safeParse(value);
  // Windows and some others append the interface to link-local addresses: fe80::1%eth0.
  const ip = success ? parseIp(data['ip-address'].replace(/%[^%]*$/, '')) : undefined;
  if (!success || ip === undefined || data.prefix > (ip.family === 4 ? 32 : 128)) return [];
  return [{ family: ip.family, address: formatIp(ip), prefix: data.prefix }];
}
