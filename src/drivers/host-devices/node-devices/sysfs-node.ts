/** One directory of /sys/devices with what udev knows of it, read when it is asked for. */
import { basename, resolve } from 'node:path';
import type { HostFiles } from '../../../kvm/host-files.ts';

/** Texts of devices that the host shows to everybody; longer ones, or with control characters, are not believed. */
const MAX_TEXT = 512;

/** A device by its place in sysfs (kernel, Documentation/filesystems/sysfs.rst). */
export class SysfsNode {
  /** `/sys/devices/pci0000:00/0000:00:02.0` */
  readonly path: string;
  /** `0000:00:02.0` */
  readonly sysname: string;
  readonly subsystem: string;
  private readonly files: HostFiles;
  private database: UdevEntry | undefined;

  constructor(files: HostFiles, subsystem: string, path: string) {
    this.files = files;
    this.subsystem = subsystem;
    this.path = path;
    this.sysname = basename(path);
  }

  /** The text of an attribute without white space at its ends; undefined for none, and for what is no text. */
  text(name: string): string | undefined {
    return cleanText(this.files.read(`${this.path}/${name}`));
  }

  /** An attribute as a number, in decimal or with 0x. */
  number(name: string): number | undefined {
    const text = this.text(name);
    const value = text === undefined || text === '' ? Number.NaN : Number(text);
    return Number.isNaN(value) ? undefined : value;
  }

  /** An attribute in hexadecimal digits without 0x, as USB has them. */
  hex(name: string): number | undefined {
    const text = this.text(name);
    return text !== undefined && /^[0-9a-f]{1,8}$/i.test(text) ? Number.parseInt(text, 16) : undefined;
  }

  list(name = ''): string[] {
    return [...this.files.list(name === '' ? this.path : `${this.path}/${name}`)];
  }

  exists(name: string): boolean {
    return this.files.exists(`${this.path}/${name}`);
  }

  /** Where a link of the device leads, as a path from the root. */
  link(name: string): string | undefined {
    const target = this.files.link(`${this.path}/${name}`);
    return target === undefined ? undefined : resolve(this.path, target);
  }

  get driver(): string | undefined {
    const target = this.link('driver');
    return target === undefined ? undefined : basename(target);
  }

  /** Its node below /dev, if it has one. */
  get devnode(): string | undefined {
    const name = /^DEVNAME=(.+)$/m.exec(this.files.read(`${this.path}/uevent`) ?? '')?.[1];
    return name === undefined ? undefined : `/dev/${name}`;
  }

  /** Other names of its node, which udev made. */
  get devlinks(): readonly string[] {
    return this.udev.links;
  }

  /** What udev's rules found out: `ID_SERIAL`. Undefined on a host without udev. */
  property(name: string): string | undefined {
    return this.udev.properties.get(name);
  }

  private get udev(): UdevEntry {
    this.database ??= readUdev(this.files, this);
    return this.database;
  }
}

interface UdevEntry {
  readonly properties: ReadonlyMap<string, string>;
  readonly links: readonly string[];
}

/** A file of /run/udev/data, which udevd writes: `E:NAME=value`, and `S:link` below /dev. */
function readUdev(files: HostFiles, node: SysfsNode): UdevEntry {
  const text = files.read(`/run/udev/data/${udevId(node)}`) ?? '';
  const lines = text.split('\n');
  const properties = lines.flatMap((line): [string, string][] => {
    const [, name, value] = /^E:([A-Za-z0-9_]+)=(.*)$/.exec(line) ?? [];
    const clean = cleanText(value);
    return name === undefined || clean === undefined || clean === '' ? [] : [[name, clean]];
  });
  const links = lines.filter((line) => line.startsWith('S:')).map((line) => `/dev/${line.slice(2)}`);
  return {
    properties: new Map(properties),
    links: links.filter((link) => cleanText(link) === link).toSorted(),
  };
}

/** How udev names a device in its database: by device number, by interface index, or by subsystem and name. */
function udevId(node: SysfsNode): string {
  const numbers = node.text('dev');
  if (numbers !== undefined) return `${node.subsystem === 'block' ? 'b' : 'c'}${numbers}`;
  const index = node.subsystem === 'net' ? node.text('ifindex') : undefined;
  return index === undefined ? `+${node.subsystem}:${node.sysname}` : `n${index}`;
}

function cleanText(text: string | undefined): string | undefined {
  const clean = text?.trim();
  if (clean === undefined || clean.length > MAX_TEXT || /[\p{Cc}\ufffd\uffff\ufffe]/u.test(clean))
    return undefined;
  return clean;
}
