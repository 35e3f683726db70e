/** What differs between two definitions of one domain, named by the paths that errors use too. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { parseXml } from '../../base/xml/parse.ts';
import { childElements, formatXml, isElement, textOf, type XmlElement } from '../../base/xml/tree.ts';
import { allDevices, formatDevices, noDevices, type OneDevice, withDevices } from './device-list.ts';
import type { Devices } from './devices/devices.ts';
import { type DomainDef, formatDomain } from './domain.ts';

/** One thing that differs. `before` or `after` is left out where there is nothing; elements are given as XML. */
export interface DefinitionChange {
  /** As `memory`, `cpu.topology.cores`, `devices.disk[vdb].driver.cache`. */
  readonly path: string;
  readonly before?: string;
  readonly after?: string;
  /** The device that changes, comes (no `old`) or goes (no `new`). */
  readonly device?: { readonly old?: OneDevice; readonly new?: OneDevice };
}

const MAX_SHOWN = 500;
const secretNames = /\.passwd$/;

/**
 * Everything that differs, in the order of the document, devices last. Devices are told apart by what people call them:
 * disks by target, interfaces by MAC address, controllers by type and index. Passwords are not shown.
 */
export function definitionChanges(before: DomainDef, after: DomainDef): DefinitionChange[] {
  const rest = (definition: DomainDef) =>
    parseXml(formatDomain(withDevices(definition, noDevices()), { secure: true, inactive: true }));
  return [...elementChanges(rest(before), rest(after), ''), ...deviceChanges(before, after)];
}

function deviceChanges(before: DomainDef, after: DomainDef): DefinitionChange[] {
  const old = named(allDevices(before.devices));
  const fresh = named(allDevices(after.devices));
  const changes: DefinitionChange[] = [];
  for (const [name, one] of old) {
    const now = fresh.get(name);
    const path = `devices.${name}`;
    if (now === undefined) changes.push({ path, before: shown(elementOf(one)), device: { old: one } });
    else if (!isDeepStrictEqual(one.device, now.device))
      for (const change of elementChanges(elementOf(one), elementOf(now), path))
        changes.push({ ...change, device: { old: one, new: now } });
  }
  for (const [name, one] of fresh)
    if (!old.has(name))
      changes.push({
        path: `devices.${name}`,
        after: shown(elementOf(one)),
        device: { new: one },
      });
  return changes;
}

/** Devices by a name that stays the same while other devices come and go. */
function named(devices: readonly OneDevice[]): Map<string, OneDevice> {
  const found = new Map<string, OneDevice>();
  for (const one of devices) {
    const key = keyOf(one);
    let name = `${one.element}[${key}]`;
    for (let count = 2; found.has(name); count++) name = `${one.element}[${key}#${count}]`;
    found.set(name, one);
  }
  return found;
}

function keyOf({ family, device }: OneDevice): string {
  switch (family) {
    case 'disks':
      return (device as Devices['disks'][number]).target.dev;
    case 'interfaces':
      return (device as Devices['interfaces'][number]).mac?.address ?? '';
    case 'filesystems':
      return (device as Devices['filesystems'][number]).target;
    case 'controllers': {
      const { type, index } = device as Devices['controllers'][number];
      return `${type}${index ?? ''}`;
    }
    default:
      return placeOf(device);
  }
}

/** The place in the guest, else what it is; devices without either are numbered. */
function placeOf(device: object): string {
  const { address, type, model } = device as { address?: object; type?: unknown; model?: unknown };
  if (address !== undefined)
    return Object.values(address)
      .filter((part) => typeof part === 'string' || typeof part === 'number')
      .join(':');
  return [type, model].find((word) => typeof word === 'string') ?? '';
}

function elementOf(one: OneDevice): XmlElement {
  const [element] = childElements(parseXml(formatDevices([one])));
  if (element === undefined) throw new Error(`<${one.element}> was written and is not there`);
  return element;
}

function elementChanges(before: XmlElement, after: XmlElement, path: string): DefinitionChange[] {
  const at = (name: string) => (path === '' ? name : `${path}.${name}`);
  const changes: DefinitionChange[] = [];
  for (const name of new Set([...before.attrs.keys(), ...after.attrs.keys()])) {
    const [old, now] = [before.attrs.get(name), after.attrs.get(name)];
    if (old !== now) changes.push(change(at(name), old, now));
  }
  const [oldText, newText] = [textOf(before).trim(), textOf(after).trim()];
  if (oldText !== newText) changes.push(change(path, oldText, newText));
  for (const name of childNames(before, after)) {
    const [old, now] = [childElements(before, name), childElements(after, name)];
    const isList = old.length > 1 || now.length > 1;
    for (let index = 0; index < Math.max(old.length, now.length); index++)
      changes.push(...childChanges(old[index], now[index], at(isList ? `${name}[${index}]` : name)));
  }
  return changes;
}

function childNames(before: XmlElement, after: XmlElement): Set<string> {
  return new Set([...before.children, ...after.children].filter(isElement).map(({ name }) => name));
}

function childChanges(
  before: XmlElement | undefined,
  after: XmlElement | undefined,
  path: string,
): DefinitionChange[] {
  if (before !== undefined && after !== undefined) return elementChanges(before, after, path);
  return [change(path, before && shown(before), after && shown(after))];
}

function change(path: string, before: string | undefined, after: string | undefined): DefinitionChange {
  const hide = (value: string) => (secretNames.test(path) ? '***' : value);
  return {
    path,
    ...(before !== undefined && { before: hide(before) }),
    ...(after !== undefined && { after: hide(after) }),
  };
}

/** An element in one line, without passwords. */
function shown(element: XmlElement): string {
  const text = formatXml(withoutPasswords(element)).trim().replaceAll(/>\s+</g, '><');
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}

function withoutPasswords(element: XmlElement): XmlElement {
  const attrs = new Map([...element.attrs].map(([name, value]) => [name, name === 'passwd' ? '***' : value]));
  return {
    name: element.name,
    attrs,
    children: element.children.map((child) => (isElement(child) ? withoutPasswords(child) : child)),
  };
}
