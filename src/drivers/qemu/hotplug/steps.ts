/** A device's options as monitor commands, each with the one that takes it back. Pure. */
import { noDevices, type OneDevice, withDevice } from '../../../model/domain/device-list.ts';
import type { Controller } from '../../../model/domain/devices/controller.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import { BootOrder } from '../argv/boot.ts';
import { Build } from '../argv/context.ts';
import { buildController } from '../argv/controller.ts';
import { buildDisks } from '../argv/disk.ts';
import { buildFilesystems } from '../argv/filesystem.ts';
import { buildHostdevs, buildRedirdevs } from '../argv/hostdev.ts';
import { buildHubs, buildInputs } from '../argv/input.ts';
import { buildInterfaces } from '../argv/interface.ts';
import { buildMemoryDevices, buildShmems } from '../argv/memory-device.ts';
import { buildRngs } from '../argv/rng.ts';
import { buildSerials } from '../argv/serial.ts';
import { buildVsock, buildWatchdogs } from '../argv/small.ts';
import type { BuildContext, JsonObject, JsonValue, QemuArg, QemuCommand } from '../argv/types.ts';
import type { QemuCapabilities } from '../probe/types.ts';
import { chardevArguments } from './chardev.ts';
import { fixedWhileRunning } from './fixed.ts';

/** One command that makes something, and the one that removes it. */
export interface LiveStep {
  readonly execute: string;
  readonly arguments: JsonObject;
  readonly undo?: { readonly execute: string; readonly arguments: JsonObject };
}

/** What plugs one device in: what has to be opened, what is started beside QEMU, the commands in order. */
export interface LivePlan {
  readonly command: QemuCommand;
  readonly steps: readonly LiveStep[];
  /** The definition with this device alone (and all controllers), whose places the descriptors name. */
  readonly alone: DomainDef;
}

/** Stand-ins for descriptors begin here: QEMU has none that high, and its limit of open files is lower. */
export const FIRST_STAND_IN = 10_000_000;

type Builder = (b: Build) => void;

const builders: Readonly<Partial<Record<OneDevice['family'], Builder>>> = {
  disks: (b) => buildDisks(b, new BootOrder(b)),
  interfaces: (b) => buildInterfaces(b, new BootOrder(b)),
  filesystems: buildFilesystems,
  serials: buildSerials,
  channels: buildSerials,
  inputs: buildInputs,
  watchdogs: buildWatchdogs,
  rngs: buildRngs,
  hostdevs: buildHostdevs,
  redirdevs: buildRedirdevs,
  hubs: buildHubs,
  memories: buildMemoryDevices,
  shmems: buildShmems,
  vsock: buildVsock,
};

/**
 * How a device of `definition` is plugged in. Its options are those of a start. `firstSet`: a number from which on no
 * descriptor set of the guest is in use.
 * @throws VirtError definition.unsupported, qemu.lacks
 */
export function planDevice(
  definition: DomainDef,
  one: OneDevice,
  facts: {
    readonly capabilities: QemuCapabilities;
    readonly context: BuildContext;
    readonly firstSet: number;
  },
): LivePlan {
  const alone = onlyDevice(definition, one);
  const b = new Build(alone, facts.capabilities, facts.context, {
    firstFd: FIRST_STAND_IN,
    firstSet: facts.firstSet,
  });
  if (one.family === 'controllers') buildController(b, one.device as Controller, 'controller');
  else builders[one.family]?.(b);
  const command = b.finish(facts.capabilities.path);
  const steps = [
    ...command.args.map((arg) => stepOf(arg, one)),
    ...command.setup.map(({ execute, arguments: args }) => ({ execute, arguments: args })),
  ];
  return { command, steps, alone };
}

/** Boot entries of <os> are for the devices of the start: those take the indexes. */
function onlyDevice(definition: DomainDef, one: OneDevice): DomainDef {
  const { emulator, controllers, graphics, redirfilter } = definition.devices;
  const bare = {
    ...noDevices(),
    controllers,
    graphics,
    ...(emulator !== undefined && { emulator }),
    ...(redirfilter !== undefined && { redirfilter }),
  };
  const devices = one.family === 'controllers' ? bare : withDevice(bare, one);
  return { ...definition, os: { ...definition.os, boot: [] }, devices };
}

function stepOf({ flag, value }: QemuArg, one: OneDevice): LiveStep {
  if (flag === '-chardev') {
    const args = chardevArguments(value);
    return step('chardev-add', args, 'chardev-remove', { id: args['id'] });
  }
  if (typeof value === 'object' && 'json' in value) {
    const { json } = value;
    if (flag === '-device') return step('device_add', words(json), 'device_del', { id: json['id'] });
    if (flag === '-netdev') return step('netdev_add', json, 'netdev_del', { id: json['id'] });
    if (flag === '-object') return step('object-add', json, 'object-del', { id: json['id'] });
    if (flag === '-blockdev')
      return step('blockdev-add', shortest(json), 'blockdev-del', { 'node-name': json['node-name'] });
  }
  if (flag === '-action' && typeof value === 'object' && 'pairs' in value)
    return { execute: 'set-action', arguments: Object.fromEntries(value.pairs) };
  const message = `it needs the option ${flag}, which QEMU takes at the start only`;
  throw fixedWhileRunning([{ path: one.element, message }], { wanted: `plug a <${one.element}>` });
}

function step(execute: string, args: JsonObject, undo: string, undoArgs: JsonObject): LiveStep {
  return { execute, arguments: args, undo: { execute: undo, arguments: undoArgs } };
}

/** Without what QEMU assumes anyway (qapi/block-core.json, BlockdevOptions): it reads its monitor byte by byte. */
function shortest({ 'read-only': isReadOnly, ...json }: JsonObject): JsonObject {
  return isReadOnly === true ? { 'read-only': true, ...json } : json;
}

/** JSON of ours cannot hold 64-bit numbers; QEMU's option visitor reads them from words. */
function words(json: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(json).map(([key, value]) => [
      key,
      typeof value === 'bigint' ? `0x${value.toString(16)}` : value,
    ]),
  );
}

/** Members that hold descriptors: nothing else is looked into, since it may be anybody's text. */
const descriptorKeys: ReadonlySet<string> = new Set(['fd', 'fds', 'vhostfd', 'vhostfds', 'str']);
const fileKeys: ReadonlySet<string> = new Set(['mem-path', 'romfile', 'file']);

/** What stands behind a stand-in: a descriptor's name on the monitor, or its number in QEMU. */
export interface RealDescriptors {
  nameOf(fd: number): string;
  numberOf(fd: number): number;
}

/** The arguments with what is really there in place of the stand-ins. */
export function withDescriptors(args: JsonObject, real: RealDescriptors): JsonObject {
  return Object.fromEntries(Object.entries(args).map(([key, value]) => [key, realValue(key, value, real)]));
}

function realValue(key: string, value: JsonValue | undefined, real: RealDescriptors): JsonValue | undefined {
  if (typeof value === 'string') {
    if (descriptorKeys.has(key) && /^1000\d{4}(:1000\d{4})*$/.test(value))
      return value
        .split(':')
        .map((part) => real.nameOf(Number(part)))
        .join(':');
    const file = fileKeys.has(key) ? /^\/proc\/self\/fd\/(1000\d{4})$/.exec(value)?.[1] : undefined;
    return file === undefined ? value : `/proc/self/fd/${real.numberOf(Number(file))}`;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return withDescriptors(value as JsonObject, real);
}
