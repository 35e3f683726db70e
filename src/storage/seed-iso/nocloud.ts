/**
 * cloud-init's first boot: a description becomes the files of the NoCloud data source, and those a disk that a guest finds
 * by its label (cloud-init, "Datasources: NoCloud"; "Networking config Version 2"). Pure.
 */
import { type Problem, VirtError } from '../../base/errors.ts';
import { buildIso, type IsoFile } from './iso9660.ts';

/** Who may log in. */
export interface SeedUser {
  /** Left out: the user that the image has by default (debian, ubuntu, fedora, ...). */
  readonly name?: string;
  /** Public keys, as in authorized_keys. */
  readonly sshKeys?: readonly string[];
  /** A hash of crypt(5), such as `mkpasswd -m yescrypt` makes. Without one there is no login by password. */
  readonly passwordHash?: string;
  /** Let the password work over SSH, too. */
  readonly allowsSshPassword?: boolean;
  readonly shell?: string;
}

/** One network card, told by its MAC address. */
export interface SeedInterface {
  readonly mac: string;
  readonly dhcp4?: boolean;
  readonly dhcp6?: boolean;
  /** With prefix: `192.168.1.5/24`, `fd00::5/64`. */
  readonly addresses?: readonly string[];
  /** `default`, or a network with prefix. */
  readonly routes?: readonly { readonly to: string; readonly via: string }[];
  readonly nameservers?: readonly string[];
  readonly searchDomains?: readonly string[];
}

export interface SeedSpec {
  /** cloud-init does its work once for each of these; a domain's uuid is a good one. */
  readonly instanceId: string;
  readonly hostname?: string;
  readonly user?: SeedUser;
  readonly packages?: readonly string[];
  /** Commands at the end of the first boot, each a program with its arguments. */
  readonly commands?: readonly (readonly string[])[];
  readonly timezone?: string;
  readonly interfaces?: readonly SeedInterface[];
  /** The whole user-data as somebody wrote it (`#cloud-config`, a script, MIME); it stands for user, packages and commands. */
  readonly userData?: string;
  readonly vendorData?: string;
}

/** The label by which cloud-init finds the disk. */
const VOLUME_ID = 'cidata';
const MAX_TEXT_BYTES = 1024 * 1024;

/**
 * The seed as an ISO image, whose bytes follow from the description and the date alone.
 * @throws VirtError request.invalid with all problems
 */
export function buildSeedIso(spec: SeedSpec, createdAt: Date): Buffer {
  return buildIso({ volumeId: VOLUME_ID, files: seedFiles(spec), createdAt });
}

/** @throws VirtError request.invalid with all problems */
export function seedFiles(spec: SeedSpec): IsoFile[] {
  const problems = [...checkSeed(spec)];
  if (problems.length > 0)
    throw new VirtError('request.invalid', {
      wanted: 'prepare the first boot',
      reason: problems.map(({ path, message }) => `${path}: ${message}`).join('; '),
      details: { problems },
    });
  const file = (name: string, text: string): IsoFile => ({ name, bytes: Buffer.from(text) });
  const { hostname, instanceId } = spec;
  return [
    file(
      'meta-data',
      yaml({ 'instance-id': instanceId, ...(hostname !== undefined && { 'local-hostname': hostname }) }),
    ),
    file('user-data', spec.userData ?? `#cloud-config\n${yaml(cloudConfig(spec))}`),
    ...(spec.vendorData === undefined ? [] : [file('vendor-data', spec.vendorData)]),
    ...(spec.interfaces === undefined ? [] : [file('network-config', yaml(networkConfig(spec.interfaces)))]),
  ];
}

/** JSON is YAML; the control characters that YAML does not take as they are were refused before, or are escaped here. */
function yaml(value: object): string {
  const text = JSON.stringify(value, null, 2);
  return `${text.replace(/[\u007f-\u009f\ufeff\ufffe\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)}\n`;
}

function cloudConfig(spec: SeedSpec): object {
  const { hostname, user, packages, commands, timezone } = spec;
  return {
    ...(hostname !== undefined && hostNames(hostname)),
    ...(user !== undefined && userConfig(user)),
    ...(packages !== undefined && packages.length > 0 && { package_update: true, packages }),
    ...(timezone !== undefined && { timezone }),
    ...(commands !== undefined && commands.length > 0 && { runcmd: commands }),
  };
}

/** A name with dots is the full one; its first part is what the guest calls itself. */
function hostNames(name: string): object {
  const [first = name] = name.split('.');
  return first === name ? { hostname: name } : { hostname: first, fqdn: name };
}

function userConfig(user: SeedUser): object {
  const { name, sshKeys = [], passwordHash, shell } = user;
  const password = passwordHash === undefined ? {} : { lock_passwd: false, passwd: passwordHash };
  const keys = sshKeys.length > 0 ? { ssh_authorized_keys: sshKeys } : {};
  const sshPassword = user.allowsSshPassword === undefined ? {} : { ssh_pwauth: user.allowsSshPassword };
  const others = { ...(shell !== undefined && { shell }) };
  if (name !== undefined)
    return {
      users: [{ name, sudo: 'ALL=(ALL) NOPASSWD:ALL', lock_passwd: true, ...others, ...password, ...keys }],
      ...sshPassword,
    };
  // `user` changes the image's default user, whatever its name is.
  const changes = { ...others, ...password };
  return { ...(Object.keys(changes).length > 0 && { user: changes }), ...keys, ...sshPassword };
}

function networkConfig(interfaces: readonly SeedInterface[]): object {
  const ethernets = interfaces.map((one, index) => [`nic${index}`, ethernet(one)] as const);
  return { version: 2, ethernets: Object.fromEntries(ethernets) };
}

function ethernet(one: SeedInterface): object {
  const { mac, dhcp4, dhcp6, addresses, routes, nameservers, searchDomains } = one;
  const resolver = {
    ...(nameservers !== undefined && { addresses: nameservers }),
    ...(searchDomains !== undefined && { search: searchDomains }),
  };
  return {
    match: { macaddress: mac.toLowerCase() },
    ...(dhcp4 !== undefined && { dhcp4 }),
    ...(dhcp6 !== undefined && { dhcp6 }),
    ...(addresses !== undefined && { addresses }),
    ...(routes !== undefined && { routes }),
    ...(Object.keys(resolver).length > 0 && { nameservers: resolver }),
  };
}

const HOST_NAME =
  /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$/;
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;
/** Key types of OpenSSH (sshd(8), AUTHORIZED_KEYS), hardware keys and certificates included. */
const SSH_KEY =
  /^(ssh-(rsa|ed25519|dss)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com|[a-z0-9-]+-cert-v01@openssh\.com) [A-Za-z0-9+/]{16,}={0,3}( .*)?$/;

/** What is wrong with a description: nothing of it may break out of its place. */
function* checkSeed(spec: SeedSpec): Generator<Problem> {
  const text = (path: string, value: string | undefined, rule: RegExp, what: string): Problem[] =>
    value === undefined || rule.test(value) ? [] : [{ path, message: `it is not ${what}` }];
  yield* text('instanceId', spec.instanceId, /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'a plain word');
  yield* text('hostname', spec.hostname, HOST_NAME, 'a host name');
  yield* text(
    'timezone',
    spec.timezone,
    /^[A-Za-z0-9+_-]+(\/[A-Za-z0-9+_-]+){0,2}$/,
    'a time zone like Europe/Vienna',
  );
  yield* text('user.name', spec.user?.name, /^[a-z_][a-z0-9_-]{0,31}$/, 'a user name');
  yield* text('user.shell', spec.user?.shell, /^\/[A-Za-z0-9/_.-]{1,255}$/, 'the path of a shell');
  // crypt(5): `$id$...`; a password in clear would be readable by everybody on the guest's disk.
  yield* text(
    'user.passwordHash',
    spec.user?.passwordHash,
    /^\$[0-9a-z]{1,8}\$[!-9;-~]{8,500}$/,
    'a hash of crypt(5)',
  );
  for (const [i, key] of (spec.user?.sshKeys ?? []).entries())
    if (key.length > 16_384 || CONTROL.test(key) || !SSH_KEY.test(key))
      yield { path: `user.sshKeys[${i}]`, message: 'it is not a public key of SSH' };
  for (const [i, name] of (spec.packages ?? []).entries())
    yield* text(`packages[${i}]`, name, /^[A-Za-z0-9][A-Za-z0-9+._:~=/@-]{0,127}$/, 'the name of a package');
  for (const [i, command] of (spec.commands ?? []).entries())
    if (command.length === 0 || command.some((word) => word.includes('\0')))
      yield { path: `commands[${i}]`, message: 'it is not a program with its arguments' };
  yield* checkInterfaces(spec.interfaces ?? []);
  for (const [path, value] of Object.entries({ userData: spec.userData, vendorData: spec.vendorData }))
    if (value !== undefined && Buffer.byteLength(value) > MAX_TEXT_BYTES)
      yield { path, message: 'it has more than 1 MiB' };
  if (spec.userData !== undefined)
    for (const path of ['user', 'packages', 'commands', 'timezone'] as const)
      if (spec[path] !== undefined) yield { path, message: 'it stands in the user-data that was given' };
}

function* checkInterfaces(interfaces: readonly SeedInterface[]): Generator<Problem> {
  const address = /^[0-9A-Fa-f.:]{2,45}$/;
  for (const [i, one] of interfaces.entries()) {
    const path = `interfaces[${i}]`;
    if (!/^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$/.test(one.mac))
      yield { path: `${path}.mac`, message: 'it is not a MAC address' };
    const wrong = [
      ...(one.addresses ?? []).filter((text) => !/^[0-9A-Fa-f.:]{2,45}\/\d{1,3}$/.test(text)),
      ...(one.nameservers ?? []).filter((text) => !address.test(text)),
      ...(one.searchDomains ?? []).filter((text) => !HOST_NAME.test(text)),
      ...(one.routes ?? []).flatMap(({ to, via }) => [
        ...(to === 'default' || /^[0-9A-Fa-f.:]{2,45}\/\d{1,3}$/.test(to) ? [] : [to]),
        ...(address.test(via) ? [] : [via]),
      ]),
    ];
    for (const text of wrong) yield { path, message: `'${text}' is not an address or name of its kind` };
  }
}
