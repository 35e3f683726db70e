/**
 * The lab as a command:
 *
 *   node test/support/kvm-lab/run-in-kvm-guest.ts [--timeout SECONDS] [--cpus N] [--memory MIB] [--rw DIR]...
 *     [--module NAME]... [--env NAME=VALUE]... [--qemu-arg ARG]... [--prepare] -- COMMAND [ARG]...
 *
 * Exit status: the command's own; 124 time over; 125 the guest did not come up or died.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { labKernel } from './kernel.ts';
import { runInKvmGuest } from './lab.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    timeout: { type: 'string', default: '600' },
    cpus: { type: 'string', default: '2' },
    memory: { type: 'string', default: '2048' },
    rw: { type: 'string', multiple: true, default: [] },
    module: { type: 'string', multiple: true, default: [] },
    env: { type: 'string', multiple: true, default: [] },
    'qemu-arg': { type: 'string', multiple: true, default: [] },
    /** Only fetches the kernel. */
    prepare: { type: 'boolean', default: false },
  },
});

const environment = values.env.map((item) => {
  const [name = '', ...rest] = item.split('=');
  return [name, rest.join('=')] as const;
});

if (values.prepare) {
  await labKernel();
} else if (positionals.length === 0) {
  process.stderr.write('run-in-kvm-guest: no command given\n');
  process.exitCode = 125;
} else {
  const result = await runInKvmGuest({
    command: positionals,
    timeoutMs: Number(values.timeout) * 1000,
    cpus: Number(values.cpus),
    memoryMiB: Number(values.memory),
    writable: values.rw.map((path) => resolve(path)),
    modules: values.module,
    environment: Object.fromEntries(environment),
    qemuArgs: values['qemu-arg'],
    onStdout: (data) => process.stdout.write(data),
    onStderr: (data) => process.stderr.write(data),
  });
  if (result.status >= 124)
    process.stderr.write(`run-in-kvm-guest: status ${result.status}\n${result.console}\n`);
  process.exitCode = result.status;
}
