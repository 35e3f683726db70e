/** `--network user,forward=tcp:2222:22`, `--network network=default`, `--network bridge=br0`, `--network none`. */
import type { ParamsInput } from '../../api/index.ts';
import { badOption, fieldOf, fieldsOf, parseFields } from './fields.ts';
import { parseForward } from './forward.ts';

/** A network device as `domain.create` takes it. */
export type NetworkSpec = NonNullable<ParamsInput<'domain.create'>['networks']>[number];

const HINT = 'write user, network=NAME, bridge=NAME or none; forwards like user,forward=tcp:2222:22';

/** Undefined stands for `none`. @throws VirtError request.invalid */
export function parseNetwork(text: string): NetworkSpec | undefined {
  const what = '--network';
  if (text === 'none') return undefined;
  const fields = parseFields(what, text, {
    known: ['network', 'bridge', 'model', 'forward'],
    repeatable: ['forward'],
  });
  const connection = connectionOf(what, text, fields);
  const forwards = fieldsOf(fields, 'forward');
  if (forwards.length > 0 && connection.type !== 'user')
    throw badOption(what, text, 'port forwards belong to user networking', HINT);
  const model = fieldOf(fields, 'model');
  const portForwards = forwards.map((forward) => parseForward(`${what} forward`, forward));
  return {
    ...connection,
    ...(model !== undefined && { model }),
    ...(connection.type === 'user' && portForwards.length > 0 && { portForwards }),
  };
}

type Connection =
  | { readonly type: 'user' }
  | { readonly type: 'network' | 'bridge'; readonly source: string };

function connectionOf(what: string, text: string, fields: ReturnType<typeof parseFields>): Connection {
  const network = fieldOf(fields, 'network');
  const bridge = fieldOf(fields, 'bridge');
  const ways = [fields.head, network, bridge].filter((way) => way !== undefined);
  if (ways.length !== 1 || ways[0] === '')
    throw badOption(what, text, 'it must say once what the device is connected to', HINT);
  if (network !== undefined) return { type: 'network', source: network };
  if (bridge !== undefined) return { type: 'bridge', source: bridge };
  if (fields.head !== 'user') throw badOption(what, text, `there is no kind '${fields.head}'`, HINT);
  return { type: 'user' };
}

/** The network devices of several `--network`; `none` must stand alone. @throws VirtError request.invalid */
export function parseNetworks(texts: readonly string[]): NetworkSpec[] {
  const specs = texts.map(parseNetwork);
  const devices = specs.filter((spec) => spec !== undefined);
  if (devices.length < specs.length && specs.length > 1)
    throw badOption('--network', texts.join(' '), 'none stands alone', HINT);
  return devices;
}
