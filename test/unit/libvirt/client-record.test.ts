/** The line that tells what a client called, when it goes. */
import { readFileSync } from 'node:fs';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { ClientRecord } from '../../../src/daemon/frontends/libvirt/client-record.ts';

function told(pid: number, calls: readonly string[]): unknown {
  const lines: string[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(String(chunk));
      done();
    },
  });
  const record = new ClientRecord(pino({ level: 'debug' }, sink), pid);
  for (const call of calls) record.note(call);
  record.tell();
  return JSON.parse(lines.join(''));
}

it('has the program and each call once, in the order of the first', () => {
  const program = readFileSync('/proc/self/comm', 'utf8').trim();
  expect(told(process.pid, ['connectOpen', 'domainCreate', 'connectOpen'])).toMatchObject({
    ...{ level: 20, program, answered: ['connectOpen', 'domainCreate'] },
  });
});

it('has no program where the client is gone, or of another host', () => {
  expect(told(0, [])).toMatchObject({ program: '', answered: [] });
});
