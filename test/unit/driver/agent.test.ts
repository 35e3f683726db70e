import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { agentShutdown } from '../../../src/drivers/qemu/agent.ts';

let directory: string;
let path: string;
let server: Server | undefined;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vireo-agent-'));
  path = join(directory, 'agent');
});
afterEach(async () => {
  server?.close();
  server = undefined;
  await rm(directory, { recursive: true });
});

/** A guest agent of our own: `answer` gets each request and the socket. */
async function agent(answer: (request: Record<string, never>, socket: Socket) => void): Promise<unknown[]> {
  const requests: unknown[] = [];
  server = createServer((socket) => {
    socket.on('data', (chunk) => {
      for (const line of chunk.toString('latin1').replaceAll('\xff', '').trim().split('\n')) {
        const request = JSON.parse(line) as Record<string, never>;
        requests.push(request);
        answer(request, socket);
      }
    });
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => {
    server?.listen(path, resolve);
  });
  return requests;
}

interface Sync {
  execute: string;
  arguments: { id: number };
}

describe('the guest agent', () => {
  it('is synchronised, past what an earlier conversation left, and asked once', async () => {
    const requests = await agent((request, socket) => {
      const { execute, arguments: args } = request as unknown as Sync;
      if (execute !== 'guest-sync-delimited') return;
      socket.write('{"return": {"stale": true}}\n{"retu');
      socket.write(Buffer.concat([Buffer.from([0xff]), Buffer.from(`{"return": ${args.id}}\n`)]));
    });
    await agentShutdown(path, 'powerdown');
    expect(requests.at(-1)).toEqual({ execute: 'guest-shutdown', arguments: { mode: 'powerdown' } });
    expect(requests).toHaveLength(2);
  });

  it('has done what it was asked when the channel closes after the request: the guest is gone', async () => {
    await agent((request, socket) => {
      const { execute, arguments: args } = request as unknown as Sync;
      if (execute === 'guest-sync-delimited') socket.write(`{"return":${args.id}}\n`);
      else socket.destroy();
    });
    await expect(agentShutdown(path, 'powerdown')).resolves.toBeUndefined();
  });

  it('has its refusal told', async () => {
    await agent((request, socket) => {
      const { execute, arguments: args } = request as unknown as Sync;
      if (execute === 'guest-sync-delimited') socket.write(`{"return":${args.id}}\n`);
      else socket.write('{"error":{"class":"GenericError","desc":"not\\nallowed"}}\n');
    });
    await expect(agentShutdown(path, 'halt')).rejects.toThrow(
      expect.objectContaining({
        code: 'operation.failed',
        reason: expect.stringContaining('not\\x0aallowed'),
      }),
    );
  });

  it('is unresponsive when nobody listens, when it hangs up, and when it never stops talking', async () => {
    const unresponsive = expect.objectContaining({ code: 'agent.unresponsive' });
    await expect(agentShutdown(path, 'reboot')).rejects.toThrow(unresponsive);
    await agent((_, socket) => socket.destroy());
    await expect(agentShutdown(path, 'reboot')).rejects.toThrow(unresponsive);
    server?.close();
    await agent((_, socket) => void socket.write('x'.repeat(100_000)));
    await expect(agentShutdown(path, 'reboot')).rejects.toThrow(unresponsive);
  });
});
