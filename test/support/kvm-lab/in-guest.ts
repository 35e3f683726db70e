/**
 * Runs inside the lab's guest: starts the daemon, lets it check KVM, boots a tiny KVM guest through the command line
 * client, and prints what was seen as one JSON document.
 *
 *   node test/support/kvm-lab/in-guest.ts
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';

const repository = join(import.meta.dirname, '../../..');
/** In the guest's memory: what is written outside of shared directories is gone with the guest. */
const root = '/var/tmp/vireo-lab';
const name = 'tiny';
const STEP_MS = 240_000;

/**
 * A boot sector that prints a line on the first serial port (0x3f8) and powers a machine of type `pc` off by its ACPI
 * port (0x604).
 */
const bootSector = Buffer.from('fa31c08ed8be1d7cac84c07406baf803eeebf5ba0406b80020eff4ebfd', 'hex');
const line = 'TINY-GUEST alive\r\n';

function writeImage(path: string): void {
  const image = Buffer.alloc(65_536);
  bootSector.copy(image);
  image.write(`${line}\0`, bootSector.length, 'latin1');
  image.writeUInt16LE(0xaa55, 510);
  writeFileSync(path, image);
}

const definition = (image: string, serialLog: string): string => `<domain type='kvm'>
  <name>${name}</name>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/><source file='${image}'/><target dev='hda' bus='ide'/>
    </disk>
    <serial type='file'><source path='${serialLog}'/><target port='0'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
`;

async function startDaemon(): Promise<ChildProcess> {
  const daemon = spawn(join(repository, 'bin/vireod'), ['--mode', 'system', '--root', root], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const timer = setTimeout(() => daemon.kill('SIGKILL'), STEP_MS);
  let said = '';
  for await (const data of daemon.stdout) {
    said += String(data);
    if (said.includes('vireod ready')) break;
  }
  clearTimeout(timer);
  if (!said.includes('vireod ready')) throw new Error(`the daemon did not come up: ${said}`);
  return daemon;
}

/** Runs the client: its answer as JSON. `host check` ends with 1 when it finds a problem; anything else must succeed. */
async function vireo(...args: string[]): Promise<unknown> {
  const started = performance.now();
  const result = await execa(join(repository, 'bin/vireo'), ['--root', root, '--json', ...args], {
    timeout: STEP_MS,
    stdin: 'ignore',
    reject: false,
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stderr.write(`${args.join(' ')}: status ${result.exitCode}, ${seconds} s\n`);
  const isFine = result.exitCode === 0 || (args[0] === 'host' && result.exitCode === 1);
  if (!isFine) throw new Error(`vireo ${args.join(' ')}: ${result.stdout}${result.stderr}`);
  return result.stdout === '' ? null : (JSON.parse(result.stdout) as unknown);
}

mkdirSync(join(root, 'etc/vireo'), { recursive: true });
// Everything takes ten times as long here.
writeFileSync(
  join(root, 'etc/vireo/vireod.toml'),
  '[qemu]\nprobe_timeout_seconds = 200\nstart_timeout_seconds = 200\ncommand_timeout_seconds = 100\n[network]\ndefine_default = false\n',
);
const image = join(root, 'tiny.img');
const serialLog = join(root, 'serial.log');
const xml = join(root, 'tiny.xml');
writeImage(image);
writeFileSync(xml, definition(image, serialLog));

const daemon = await startDaemon();
const seen = {
  check: await vireo('host', 'check'),
  defined: await vireo('domain', 'define', xml),
  started: await vireo('domain', 'start', '--paused', name),
  queryKvm: await vireo('domain', 'qmp', name, 'query-kvm'),
  resumed: await vireo('domain', 'resume', name),
  ended: await vireo('domain', 'wait', '--for', 'shutoff', '--timeout', '200s', name),
  serial: readFileSync(serialLog, 'latin1'),
};
process.stdout.write(`${JSON.stringify(seen)}\n`);
daemon.kill('SIGTERM');
await once(daemon, 'exit');
