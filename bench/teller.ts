/** A process that answers each line with one number: a client of a daemon that times its commands itself. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** What `virsh --timing` says behind each command. */
export const virshTime = /^\(Time: ([\d.]+) ms\)/;

export class Teller {
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;
  private readonly number: RegExp;

  /** @param number what a line looks like that answers, with the milliseconds in its first group */
  constructor(words: readonly string[], number: RegExp) {
    const [program = '', ...args] = words;
    this.child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    if (this.child.stdout === null) throw new Error('it has no stdout');
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    this.number = number;
  }

  async tell(line: string): Promise<number> {
    this.child.stdin?.write(`${line}\n`);
    for (;;) {
      const next = await this.lines.next();
      if (next.done === true) throw new Error(`there is no answer to '${line}'`);
      const found = this.number.exec(next.value)?.[1];
      if (found !== undefined) return Number(found);
      if (next.value.startsWith('error:')) throw new Error(`'${line}' failed: ${next.value}`);
    }
  }

  async end(): Promise<void> {
    this.child.stdin?.end();
    if (this.child.exitCode === null) await once(this.child, 'exit');
  }
}
