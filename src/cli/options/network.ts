/** `--network user,forward=tcp:2222:22`, `passt`, `network=default`, `bridge=br0`, `direct=eth0`, `segment=lab`, `none`. */
import type { ParamsInput } from '../../api/index.ts';
import { badOption, fieldOf, fieldsOf, parseFields } from './fields.ts';
import { parseForward } from './forward.ts';

/** A network device as `domain.create` takes it. */
export type NetworkSpec = NonNullable<ParamsInput<'domain.create'>['networks']>[number];

const HINT =
  'write user, passt, network=NAME, bridge=NAME, direct=INTERFACE, segment=NAME or none; forwards like user,forward=tcp:2222:22';

/** Undefined stands for `none`. @throws VirtError request.invalid */
export function parseNetwork(text: string): NetworkSpec | undefined {
  const what = '--network';
  if (text === 'none') return undefined;
  const fields = parseFields(what, text, {
    known: ['network', 'bridge', 'direct', 'mode', 'segment', 'model', 'forward'],
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
  | { readonly type: 'user'; readonly backend?: 'passt' }
  | { readonly type: 'network' | 'bridge' | 'segment'; readonly source: string }
  | { readonly type: 'direct'; readonly source: string; readonly mode?: DirectMode };

const directModes = ['bridge', 'vepa', 'private', 'passthrough'] as const;
type DirectMode = (typeof directModes)[number];

function connectionOf(what: string, text: string, fields: ReturnType<typeof parseFields>): Connection {
  const network = fieldOf(fields, 'network');
  const bridge = fieldOf(fields, 'bridge');
  const segment = fieldOf(fields, 'segment');
  const direct = fieldOf(fields, 'direct');
  const mode = fieldOf(fields, 'mode');
  const ways = [fields.head, network, bridge, direct, segment].filter((way) => way !== undefined);
  if (ways.length !== 1 || ways[0] === '')
    throw badOption(what, text, 'it must say once what the device is connected to', HINT);
  if (mode !== undefined && direct === undefined)
    throw badOption(what, text, 'a mode belongs to direct=INTERFACE', HINT);
  if (direct !== undefined) return { type: 'direct', source: direct, ...modeOf(what, text, mode) };
  if (network !== undefined) return { type: 'network', source: network };
  if (bridge !== undefined) return { type: 'bridge', source: bridge };
  if (segment !== undefined) return { type: 'segment', source: segment };
  if (fields.head === 'passt') return { type: 'user', backend: 'passt' };
  if (fields.head !== 'user') throw badOption(what, text, `there is no kind '${fields.head}'`, HINT);
  return { type: 'user' };
}

function modeOf(what: string, text: string, mode: string | undefined): { readonly mode?: DirectMode } {
  if (mode === undefined) return {};
  const known = directModes.find((one) => one === mode);
  if (known !== undefined) return { mode: known };
  throw badOption(what, text, `there is no mode '${mode}'`, `the modes are ${directModes.join(', ')}`);
}

/** The network devices of several `--network`; `none` must stand alone. @throws VirtError request.invalid */
export function parseNetworks(texts: readonly string[]): NetworkSpec[] {
  const specs = texts.map(parseNetwork);
  const devices = specs.filter((spec) => spec !== undefined);
  if (devices.length < specs.length && specs.length > 1)
    throw badOption('--network', texts.join(' '), 'none stands alone', HINT);
  return devices;
}
