/** Checks of the programs that guests and networks are made with. */
import {
  type CheckContext,
  type CheckStatus,
  findVersion,
  type HostCheck,
  installHint,
  isAtLeast,
} from './check.ts';

/** The oldest QEMU that we build command lines for. */
const OLDEST_QEMU = '6.2';

/** Where a distribution puts a QEMU that is not named qemu-system-ARCH. */
const extraQemu = ['/usr/libexec/qemu-kvm', '/usr/bin/qemu-kvm'];

/** Architectures by uname and the word in QEMU's program names, with Debian's package. */
const qemuNames: Readonly<Record<string, readonly [word: string, debianPackage: string]>> = {
  x86_64: ['x86_64', 'qemu-system-x86'],
  i686: ['i386', 'qemu-system-x86'],
  aarch64: ['aarch64', 'qemu-system-arm'],
  armv7l: ['arm', 'qemu-system-arm'],
  ppc64le: ['ppc64', 'qemu-system-ppc'],
  s390x: ['s390x', 'qemu-system-misc'],
  riscv64: ['riscv64', 'qemu-system-misc'],
};

interface FoundQemu {
  readonly path: string;
  /** Undefined when the binary could not be run. */
  readonly version: string | undefined;
  readonly reason?: string;
}

export async function checkQemu(context: CheckContext): Promise<HostCheck> {
  const base = { id: 'qemu', title: 'QEMU' };
  const [word, debianPackage] = qemuNames[context.arch] ?? [context.arch, 'qemu-system-misc'];
  const found: FoundQemu[] = [];
  // One after the other: each loads some 60 MiB of libraries, and nobody waits for this answer in a hurry.
  for (const path of await qemuPaths(context)) found.push(await askQemu(context, path));
  const native = found.find(({ path }) => path.endsWith(`qemu-system-${word}`) || extraQemu.includes(path));
  const detail = found
    .map(({ path, version, reason }) => `${path} ${version ?? `(cannot be run: ${reason})`}`)
    .join(', ');
  const repair = installHint(context.files, debianPackage);
  if (native === undefined) {
    return { ...base, status: 'problem', detail: detail || `there is no qemu-system-${word}`, repair };
  }
  if (native.version === undefined) return { ...base, status: 'problem', detail, repair };
  if (!isAtLeast(native.version, OLDEST_QEMU)) {
    const reason = `${detail}: older than ${OLDEST_QEMU}`;
    return { ...base, status: 'problem', detail: reason, repair: `install QEMU ${OLDEST_QEMU} or newer` };
  }
  return { ...base, status: 'ok', detail };
}

async function qemuPaths(context: CheckContext): Promise<string[]> {
  const directories = ['/usr/local/bin', '/usr/bin'];
  const named = directories.flatMap((directory) =>
    context.files
      .list(directory)
      .filter((name) => /^qemu-system-[a-z0-9_]+$/.test(name))
      .map((name) => `${directory}/${name}`),
  );
  // Debian has qemu-system-i386 and others as links to one program: each is a binary of its own for us.
  const extra = await Promise.all(extraQemu.map((path) => context.findProgram(path)));
  return [...named, ...extra.filter((path) => path !== undefined)];
}

async function askQemu(context: CheckContext, path: string): Promise<FoundQemu> {
  const answer = await context.ask(path, ['--version']);
  if (!answer.ok) return { path, version: undefined, reason: answer.reason };
  const version = /version (\d+(?:\.\d+)+)/.exec(answer.stdout)?.[1];
  return { path, version, ...(version === undefined && { reason: 'it does not tell its version' }) };
}

/** A program of which only presence and version matter. */
interface PlainProgram {
  readonly id: string;
  readonly title: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly debianPackage: string;
  /** Other places than PATH. */
  readonly places?: readonly string[];
  /** What its absence means in each mode. */
  readonly absence: Readonly<Record<CheckContext['mode'], CheckStatus>>;
  readonly consequence: string;
}

const plainPrograms: readonly PlainProgram[] = [
  {
    id: 'qemu-img',
    title: 'qemu-img',
    program: 'qemu-img',
    args: ['--version'],
    debianPackage: 'qemu-utils',
    absence: { system: 'problem', session: 'problem' },
    consequence: 'disk images can be neither made nor looked at',
  },
  {
    id: 'dnsmasq',
    title: 'dnsmasq (DHCP and DNS of virtual networks)',
    program: 'dnsmasq',
    args: ['--version'],
    debianPackage: 'dnsmasq-base',
    absence: { system: 'problem', session: 'absent' },
    consequence: 'virtual networks have no DHCP and DNS',
  },
  {
    id: 'setpriv',
    title: 'setpriv (guests under their own user)',
    program: 'setpriv',
    args: ['--version'],
    debianPackage: 'util-linux',
    absence: { system: 'problem', session: 'warning' },
    consequence: 'QEMU cannot be started with fewer rights than the daemon',
  },
  {
    id: 'prlimit',
    title: 'prlimit (resource limits of guests)',
    program: 'prlimit',
    args: ['--version'],
    debianPackage: 'util-linux',
    absence: { system: 'problem', session: 'warning' },
    consequence: "QEMU's resource limits cannot be set",
  },
  {
    id: 'swtpm',
    title: 'swtpm (emulated TPM)',
    program: 'swtpm',
    args: ['--version'],
    debianPackage: 'swtpm',
    absence: { system: 'absent', session: 'absent' },
    consequence: 'guests with a TPM (Windows 11) do not start',
  },
  {
    id: 'virtiofsd',
    title: 'virtiofsd (shared directories)',
    program: 'virtiofsd',
    args: ['--version'],
    debianPackage: 'virtiofsd',
    places: ['/usr/libexec/virtiofsd', '/usr/lib/qemu/virtiofsd', '/usr/lib/virtiofsd'],
    absence: { system: 'absent', session: 'absent' },
    consequence: 'guests with a virtiofs directory do not start; 9p works without it',
  },
];

/** One check per program of the table above. */
export function checkPrograms(context: CheckContext): Promise<HostCheck[]> {
  return Promise.all(plainPrograms.map((program) => checkProgram(context, program)));
}

async function checkProgram(context: CheckContext, wanted: PlainProgram): Promise<HostCheck> {
  const base = { id: wanted.id, title: wanted.title };
  const repair = installHint(context.files, wanted.debianPackage);
  const path = await firstOf(context, [wanted.program, ...(wanted.places ?? [])]);
  if (path === undefined) {
    const detail = `not installed: ${wanted.consequence}`;
    return { ...base, status: wanted.absence[context.mode], detail, repair };
  }
  const answer = await context.ask(path, wanted.args);
  if (!answer.ok) {
    const detail = `${path} cannot be run (${answer.reason}): ${wanted.consequence}`;
    return { ...base, status: 'problem', detail, repair };
  }
  // QEMU 7.2's own virtiofsd prints its version on stderr.
  const version = findVersion(answer.stdout || answer.stderr);
  return { ...base, status: 'ok', detail: version === undefined ? path : `${path} ${version}` };
}

async function firstOf(context: CheckContext, names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    const path = await context.findProgram(name);
    if (path !== undefined) return path;
  }
  return undefined;
}

/** Firmware for guests that boot by UEFI: descriptors (QEMU docs/interop/firmware.json) or the usual files. */
export function checkEfiFirmware(context: CheckContext): HostCheck {
  const base = { id: 'efi-firmware', title: 'UEFI firmware for guests' };
  const descriptors = ['/etc/qemu/firmware', '/usr/share/qemu/firmware'].flatMap((directory) =>
    context.files.list(directory).filter((name) => name.endsWith('.json')),
  );
  if (descriptors.length > 0)
    return { ...base, status: 'ok', detail: `${descriptors.length} firmware descriptors` };
  const debianPackage = context.arch === 'aarch64' ? 'qemu-efi-aarch64' : 'ovmf';
  return {
    ...base,
    status: 'absent',
    detail: "not installed: guests with firmware='efi' do not start; BIOS guests do",
    repair: installHint(context.files, debianPackage),
  };
}
