/** What every device builder gets: the definition, what the binary can do, and one place to collect results. */
import { type Problem, VirtError } from '../../../base/errors.ts';
import { throwProblems } from '../../../base/xml/codec.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import { type CapabilityLookup, lookupOf } from '../probe/lookup.ts';
import type { AcceleratorCapabilities, QemuCapabilities } from '../probe/types.ts';
import { overrideProperties } from './passthrough.ts';
import { flattenJson } from './render.ts';
import type {
  BuildContext,
  FdNeed,
  FdRequest,
  HelperNeed,
  JsonObject,
  QemuArg,
  QemuCommand,
  QmpStep,
} from './types.ts';

/** What a file need can say besides path and access. */
type FileExtra = Pick<Extract<FdNeed, { kind: 'file' }>, 'device' | 'direct' | 'optional' | 'unknownBacking'>;

/** The first descriptor after stdin, stdout and stderr. */
const FIRST_FD = 3;

/** One building of a command line. Builders return or add options; what goes wrong is collected, never thrown. */
export class Build {
  readonly definition: DomainDef;
  readonly caps: QemuCapabilities;
  readonly context: BuildContext;
  readonly args: QemuArg[] = [];
  readonly fds: FdNeed[] = [];
  readonly helpers: HelperNeed[] = [];
  readonly ptys: Record<string, string> = {};
  readonly sockets: Record<string, string> = {};
  readonly environment: Record<string, string> = {};
  readonly setup: QmpStep[] = [];
  readonly passthrough: string[] = [];
  private readonly problems: Problem[] = [];
  private readonly missing: Problem[] = [];
  private readonly offered: CapabilityLookup;
  /** Set when devices of a running guest are built: their options become monitor commands. */
  readonly isLive: boolean;
  private nextFd: number;
  private nextSet: number;

  /** `live`: the first numbers of descriptors (which only stand in, then) and of sets that are free. */
  constructor(
    definition: DomainDef,
    caps: QemuCapabilities,
    context: BuildContext,
    live?: { readonly firstFd: number; readonly firstSet: number },
  ) {
    this.definition = definition;
    this.isLive = live !== undefined;
    this.nextFd = live?.firstFd ?? FIRST_FD;
    this.nextSet = live?.firstSet ?? 1;
    this.caps = caps;
    this.context = context;
    this.offered = lookupOf(caps);
  }

  // ---- options

  /** Adds an option with a plain word, or none. */
  word(flag: QemuArg['flag'], value?: string): void {
    this.args.push(value === undefined ? { flag } : { flag, value });
  }

  /** Adds an option of key=value pairs. */
  pairs(
    flag: QemuArg['flag'],
    pairs: readonly (readonly [string, string | number | boolean | undefined])[],
  ): void {
    this.args.push({ flag, value: { pairs } });
  }

  /** Adds an option in its JSON form. */
  json(flag: QemuArg['flag'], json: JsonObject): void {
    this.args.push({ flag, value: { json } });
  }

  /** Adds a device, after looking whether the binary has it. */
  device(path: string, json: JsonObject & { readonly driver: string }): void {
    if (!this.needDevice(path, json.driver)) return;
    // Always JSON: QEMU makes all devices of the other form first, whatever the order (softmmu/vl.c).
    this.json('-device', overrideProperties(this, json));
  }

  /** Adds an object, after looking whether the binary has it. */
  object(path: string, json: JsonObject & { readonly 'qom-type': string; readonly id: string }): void {
    if (!this.hasObject(json['qom-type'])) this.lacks(path, `object '${json['qom-type']}'`);
    else this.json('-object', json);
  }

  /** Adds a network backend: as JSON where the binary takes it (7.2, which brought `stream`), else as pairs. */
  netdev(json: JsonObject & { readonly type: string; readonly id: string }): void {
    if (this.isLive || this.caps.netdevs.includes('stream')) this.json('-netdev', json);
    else this.pairs('-netdev', [['', json.type], ...netdevPairs({ ...json, type: undefined })]);
  }

  // ---- descriptors

  /** Asks for a descriptor; the answer is its number in QEMU. */
  need(request: FdRequest): number {
    const fd = this.nextFd++;
    this.fds.push({ ...request, fd });
    return fd;
  }

  /** Asks for a file in an fdset of its own; the answer is the name by which QEMU opens it. */
  file(
    path: string,
    access: 'ro' | 'rw' | 'append' | 'truncate',
    purpose: string,
    extra: FileExtra = {},
  ): string {
    const set = this.nextSet++;
    const fd = this.nextFd++;
    // QEMU picks the descriptor of a set by access mode, and reads a writable file's header through a read-only one.
    const roFd = access === 'rw' ? { roFd: this.nextFd++ } : {};
    this.fds.push({ kind: 'file', fd, path, access, set, purpose, ...roFd, ...extra });
    return `/dev/fdset/${set}`;
  }

  /** Asks for all descriptors of a group in an fdset of their own; the answer is the name by which QEMU opens one. */
  passed(group: string, count: number, purpose: string): string {
    const set = this.nextSet++;
    for (let index = 0; index < count; index++) this.need({ kind: 'passed', group, index, set, purpose });
    return `/dev/fdset/${set}`;
  }

  /** Asks for a copy in memory of a small file that QEMU opens by name. */
  copy(path: string, purpose: string): string {
    return `/proc/self/fd/${this.need({ kind: 'copy', path, purpose })}`;
  }

  /** A text of the definition that QEMU takes as a file; the answer is the name by which it opens it. */
  text(text: string, purpose: string): string {
    return `/proc/self/fd/${this.need({ kind: 'text', text, purpose })}`;
  }

  // ---- findings

  /** Something in the definition that is understood, but not offered. */
  problem(path: string, message: string): void {
    if (this.problems.length < 100) this.problems.push({ path, message });
  }

  /** Something that this binary lacks. */
  lacks(path: string, what: string): void {
    const { major, minor, micro } = this.caps.version;
    this.missing.push({
      path,
      message: `QEMU ${major}.${minor}.${micro} (${this.caps.path}) has no ${what}`,
    });
  }

  /** Reports every present one of `parts` as not offered. */
  refuse(path: string, parts: Readonly<Record<string, unknown>>, why = 'is not supported'): void {
    for (const name in parts) {
      const value = parts[name];
      if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
      this.problem(path === '' ? name : `${path}.${name}`, why);
    }
  }

  // ---- capabilities

  hasDevice(name: string): boolean {
    return this.offered.devices.has(name);
  }

  hasObject(name: string): boolean {
    return this.offered.objects.has(name);
  }

  /**
   * True when the device has the property. The (non-)transitional models of a virtio device have the properties of
   * the plain one; devices whose properties were not recorded have none.
   */
  hasProperty(device: string, property: string): boolean {
    const plain = device.endsWith('transitional') ? device.replace(/-(non-)?transitional$/, '') : device;
    return this.caps.deviceProperties[plain]?.includes(property) === true;
  }

  hasSchema(member: string): boolean {
    return this.offered.schema.has(member);
  }

  /** True when the binary has the device; otherwise it is reported as lacking. */
  needDevice(path: string, name: string): boolean {
    if (this.hasDevice(name)) return true;
    this.lacks(path, `device '${name}'`);
    return false;
  }

  /** `value` when the device has the property; otherwise it is reported as lacking. Undefined asks for nothing. */
  property<T>(path: string, device: string, property: string, value: T | undefined): T | undefined {
    if (value === undefined || this.hasProperty(device, property)) return value;
    this.lacks(path, `property '${property}' of device '${device}'`);
    return undefined;
  }

  // ---- facts of the definition that many builders ask for

  get arch(): string {
    return this.definition.os.type.arch ?? this.caps.arch;
  }

  get machine(): string {
    return this.definition.os.type.machine ?? '';
  }

  get isX86(): boolean {
    return this.arch === 'x86_64' || this.arch === 'i686';
  }

  get isQ35(): boolean {
    return this.isX86 && /^(pc-)?q35(-|$)/.test(this.machine);
  }

  /** The i440FX family, with its PIIX3 south bridge. */
  get isI440fx(): boolean {
    return this.isX86 && /^pc(-i440fx|-\d|$)/.test(this.machine);
  }

  get isKvm(): boolean {
    return this.definition.type === 'kvm';
  }

  get accelerator(): AcceleratorCapabilities | undefined {
    return this.isKvm ? this.caps.accelerators.kvm : this.caps.accelerators.tcg;
  }

  /**
   * The finished command.
   * @throws VirtError definition.unsupported with all problems, or qemu.lacks with all that is missing
   */
  finish(binary: string): QemuCommand {
    const wanted = `build the QEMU command line of domain '${this.definition.name}'`;
    throwProblems(this.problems, wanted, 'definition.unsupported');
    const first = this.missing[0];
    if (first !== undefined)
      throw new VirtError('qemu.lacks', {
        wanted,
        reason: `${first.path}: ${first.message}`,
        hint: 'install a QEMU with that device, or take it out of the definition',
        details: { problems: this.missing },
      });
    const { args, fds, helpers, ptys, sockets, environment, setup, passthrough } = this;
    return { binary, args, fds, helpers, ptys, sockets, environment, setup, passthrough };
  }
}

/** Before JSON, -netdev took a list of strings as the same key again and again (`hostfwd=...,hostfwd=...`). */
function netdevPairs(json: JsonObject): (readonly [string, string | number | boolean])[] {
  return flattenJson(json).map(([key, value]) => [key.replace(/\.\d+\.str$/, ''), value]);
}
