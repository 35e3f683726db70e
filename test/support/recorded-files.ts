/** Host files from a recorded tree: path and text, nothing of this machine. */
import type { HostFiles, NodeStat } from '../../src/kvm/host-files.ts';

export interface RecordedHost {
  /** Text by path. A path that ends in `/` is an empty directory. */
  readonly files: Readonly<Record<string, string>>;
  /** Bytes by path. */
  readonly bytes?: Readonly<Record<string, Buffer>>;
  readonly nodes?: Readonly<Record<string, NodeStat>>;
  /** Model-specific registers, as /dev/cpu/0/msr gives them. */
  readonly msr?: Readonly<Record<number, bigint>>;
  readonly kernelLog?: string;
}

export function recordedFiles(host: RecordedHost): HostFiles {
  const paths = Object.keys(host.files);
  const below = (path: string): string[] => paths.filter((other) => other.startsWith(`${path}/`));
  return {
    read: (path) => host.files[path],
    readBytes: (path) => host.bytes?.[path],
    list: (path) => {
      const names = below(path).map((other) => other.slice(path.length + 1).split('/')[0] ?? '');
      return [...new Set(names)].filter((name) => name !== '').sort();
    },
    exists: (path) => path in host.files || path in (host.nodes ?? {}) || below(path).length > 0,
    link: () => undefined,
    stat: (path) => host.nodes?.[path],
    readAt: (path, position) => {
      const value = path === '/dev/cpu/0/msr' ? host.msr?.[position] : undefined;
      if (value === undefined) return undefined;
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(value);
      return bytes;
    },
    kernelLog: () => host.kernelLog,
  };
}
