/** Back ends of character devices as `chardev-add` takes them, from the options of -chardev. Pure. */
import type { JsonObject, QemuArg } from '../argv/types.ts';

type Pairs = readonly (readonly [string, string | number | boolean | undefined])[];

/** qapi/char.json: id, and a backend that is a union with its members in `data`. */
export function chardevArguments(value: QemuArg['value']): JsonObject {
  if (typeof value !== 'object' || !('pairs' in value)) throw new Error('-chardev is written in pairs');
  const options = new Map(value.pairs.filter(([, part]) => part !== undefined)) as Map<
    string,
    string | number | boolean
  >;
  const take = (name: string) => options.get(name);
  const type = String(take(''));
  const common = { logfile: take('logfile'), logappend: take('logappend') };
  return {
    id: String(take('id')),
    backend: { type, data: { ...backendData(type, value.pairs), ...common } },
  };
}

function backendData(type: string, pairs: Pairs): JsonObject {
  const options = Object.fromEntries(pairs.filter(([name]) => name !== '' && name !== 'id'));
  switch (type) {
    case 'socket':
      return {
        addr: socketAddress(options),
        server: options['server'] ?? false,
        wait: options['wait'],
        telnet: options['telnet'],
        reconnect: options['reconnect'],
        'reconnect-ms': options['reconnect-ms'],
      };
    case 'udp':
      return {
        remote: inet(options['host'], options['port']),
        local:
          options['localport'] === undefined && options['localaddr'] === undefined
            ? undefined
            : inet(options['localaddr'] ?? '', options['localport'] ?? 0),
      };
    case 'file':
      return { out: options['path'], append: options['append'] };
    case 'serial':
    case 'parallel':
      return { device: options['path'] };
    case 'spicevmc':
      return { type: options['name'] };
    case 'spiceport':
      return { fqdn: options['name'] };
    case 'qemu-vdagent':
      return { clipboard: options['clipboard'], mouse: options['mouse'] };
    default:
      return {};
  }
}

type Options = Readonly<Record<string, string | number | boolean | undefined>>;

function socketAddress(options: Options): JsonObject {
  if (options['fd'] !== undefined) return { type: 'fd', data: { str: String(options['fd']) } };
  if (options['path'] !== undefined) return { type: 'unix', data: { path: options['path'] } };
  return inet(options['host'], options['port']);
}

function inet(host: unknown, port: unknown): JsonObject {
  return { type: 'inet', data: { host: String(host), port: String(port) } };
}
