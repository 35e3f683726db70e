/**
 * A program that a probe takes for QEMU: `fake-qemu.ts MODE PIDFILE QEMU-ARGUMENTS...`. It connects to the monitor
 * socket of its arguments and answers with next to nothing, or misbehaves as MODE says:
 *   normal          answers everything
 *   deadly          ends at the first device-list-properties of usb-host
 *   hang            never connects
 *   silent          greets and never answers
 *   die             greets and ends with an error
 *   refuse-kvm      ends when it is asked for KVM
 *   sev             has KVM from the start, on a host with AMD SEV
 *   no-sev          the same, built with SEV on a host without it
 */
import { appendFileSync } from 'node:fs';
import { connect } from 'node:net';
import { greeting } from './fake-qmp.ts';

const [mode = '', pidFile = '', ...args] = process.argv.slice(2);
appendFileSync(pidFile, `${process.pid}\n`);

function fail(message: string): never {
  process.stderr.write(`fake-qemu: ${message}\n`);
  process.exit(3);
}

if (args.includes('help')) {
  process.stdout.write('Available drivers:\nnone\nspice\n');
  process.exit(0);
}

const accelerator = /accel=([a-z:]+)/.exec(args[args.indexOf('-machine') + 1] ?? '')?.[1] ?? '';
if (mode === 'refuse-kvm' && accelerator === 'kvm') fail('failed to initialize kvm: Permission denied');

const answers: Readonly<Record<string, unknown>> = {
  qmp_capabilities: {},
  'query-target': { arch: 'x86_64' },
  'query-kvm': { enabled: accelerator === 'kvm' || mode.endsWith('sev'), present: true },
  'query-machines': [
    {
      name: 'pc-1',
      alias: 'pc',
      'is-default': true,
      'cpu-max': 8,
      'hotpluggable-cpus': true,
      'numa-mem-supported': false,
    },
  ],
  'query-cpu-definitions': [{ name: 'max', typename: 'max-x86_64-cpu', 'unavailable-features': [] }],
  'query-qmp-schema': ['quit', ...(mode.endsWith('sev') ? ['query-sev-capabilities'] : [])].map((name) => ({
    name,
    'meta-type': 'command',
  })),
  // As an EPYC answers QEMU 10, with shorter keys.
  'query-sev-capabilities':
    mode === 'sev'
      ? { cbitpos: 51, 'reduced-phys-bits': 1, pdh: 'cGRo', 'cert-chain': 'Y2VydA==', 'cpu0-id': 'Y3B1' }
      : undefined,
  'query-command-line-options': [{ option: 'sandbox', parameters: [{ name: 'enable' }] }],
  'device-list-properties': [{ name: 'id' }, { name: 'x-secret' }, { name: 'irq[0]' }],
  quit: {},
};

function answer(execute: string, argument: Readonly<Record<string, unknown>>): unknown {
  if (execute === 'qom-list-types')
    return argument['implements'] === 'device'
      ? [{ name: 'usb-kbd' }, { name: 'usb-host' }, { name: 'virtio-vga-gl' }, { name: 'max-x86_64-cpu' }]
      : [{ name: 'iothread' }];
  if (mode === 'deadly' && argument['typename'] === 'usb-host') fail('missing object type');
  return answers[execute];
}

if (mode === 'hang') setInterval(() => undefined, 60_000);
else {
  const path = /^unix:(.*)$/.exec(args[args.indexOf('-qmp') + 1] ?? '')?.[1] ?? fail('no monitor');
  const socket = connect(path.replaceAll(',,', ','));
  const send = (message: unknown): boolean => socket.write(`${JSON.stringify(message)}\r\n`);
  socket.on('connect', () => send(greeting));
  socket.on('data', (chunk) => {
    if (mode === 'silent') return;
    if (mode === 'die') fail('cannot allocate memory');
    // The client waits for each answer before it asks again, so a chunk is one command.
    const command = JSON.parse(chunk.toString('utf8')) as { execute: string; arguments?: object; id: number };
    const value = answer(command.execute, { ...command.arguments });
    if (value === undefined)
      send({
        error: { class: 'GenericError', desc: 'no such command, or nothing of the kind here' },
        id: command.id,
      });
    else send({ return: value, id: command.id });
    if (command.execute === 'quit') socket.end(() => process.exit(0));
  });
}
