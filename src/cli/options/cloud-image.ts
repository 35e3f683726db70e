/** Options of guests from cloud images: who may log in, and how large the disk is. */
import { randomInt } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { ParamsInput } from '../../api/index.ts';
import { errnoOf, fileError } from '../../base/errors.ts';
import { readText } from '../../base/files.ts';
import { sha512Crypt } from '../../base/sha512-crypt.ts';
import { parseSize } from '../../base/units.ts';
import type { Cli } from '../cli.ts';
import { collect } from '../commands/command.ts';
import { badOption } from './fields.ts';

export type ImageSpec = NonNullable<ParamsInput<'domain.create'>['image']>;

export interface CloudImageOptions {
  readonly sshKey?: readonly string[];
  readonly user?: string;
  readonly password?: boolean;
  readonly cloudInit?: string;
  readonly diskSize?: string;
  readonly fullCopy?: boolean;
  readonly pool?: string;
}

/** What is asked of the daemon, and what only the user gets to see. */
export interface CloudImage {
  readonly spec: ImageSpec;
  /** Made up for this guest; for its console. */
  readonly password?: string;
  /** There is a key to come in with by SSH. */
  readonly hasKeys: boolean;
}

export function addCloudImageOptions(command: Command): Command {
  return command
    .option(
      '--ssh-key <file>',
      'Public key that may log in (default: all of ~/.ssh/*.pub). May be given several times.',
      collect,
    )
    .option('--user <name>', 'Who may log in (default: the user of the distribution).')
    .option('--password', 'Make up a password for the console, and print it.')
    .option('--cloud-init <file>', 'The whole user-data for cloud-init, in place of keys, user and password.')
    .option('--disk-size <size>', 'Size of the disk, like 20GiB (default: 10GiB).')
    .option('--full-copy', 'Copy the image, so that the disk depends on nothing.')
    .option('--pool <pool>', 'Where the image and the disk go (default: default).');
}

/** True when one was given of the options that only cloud images have. */
export function hasCloudImageOptions(options: CloudImageOptions): boolean {
  const { sshKey, user, password, cloudInit, diskSize, fullCopy, pool } = options;
  return [sshKey, user, password, cloudInit, diskSize, fullCopy, pool].some((value) => value !== undefined);
}

/**
 * Reads keys and files of this user. Without any key a password is made up, or nobody could log in.
 * @throws VirtError request.invalid, file.*
 */
export async function cloudImageOf(
  cli: Cli,
  image: string,
  options: CloudImageOptions,
  defaults: { readonly password: boolean },
): Promise<CloudImage> {
  const { user, cloudInit, diskSize, fullCopy, pool } = options;
  const common = {
    name: image,
    ...(diskSize !== undefined && { sizeBytes: sizeOf(diskSize) }),
    ...(fullCopy === true && { copy: 'full' as const }),
    ...(pool !== undefined && { pool }),
  };
  if (cloudInit !== undefined) {
    if (options.sshKey !== undefined || user !== undefined || options.password === true)
      throw badOption('--cloud-init', cloudInit, 'keys, user and password stand in that file then');
    const userData = await readText(resolve(cli.world.cwd, cloudInit), 1024 * 1024);
    return { spec: { ...common, userData }, hasKeys: true };
  }
  const sshKeys = await keysOf(cli, options.sshKey);
  const isWanted = options.password ?? (defaults.password || sshKeys.length === 0);
  const password = isWanted ? newPassword() : undefined;
  return {
    spec: {
      ...common,
      sshKeys,
      ...(user !== undefined && { user }),
      ...(password !== undefined && { passwordHash: sha512Crypt(password) }),
    },
    hasKeys: sshKeys.length > 0,
    ...(password !== undefined && { password }),
  };
}

function sizeOf(text: string): number {
  // A bare number would be bytes, which nobody means for a disk.
  if (/^\d+$/.test(text))
    throw badOption('--disk-size', text, 'the size has no unit', `write ${text}GiB or ${text}MiB`);
  return Math.ceil(parseSize(text) / 512) * 512;
}

const MAX_KEY_BYTES = 64 * 1024;

async function keysOf(cli: Cli, files: readonly string[] | undefined): Promise<string[]> {
  const paths = files?.map((file) => resolve(cli.world.cwd, file)) ?? (await ownKeys(cli));
  const texts = await Promise.all(paths.map((path) => readText(path, MAX_KEY_BYTES)));
  const lines = texts.flatMap((text) => text.split('\n').map((line) => line.trim()));
  const keys = [...new Set(lines.filter((line) => line !== '' && !line.startsWith('#')))];
  if (files !== undefined && keys.some((key) => key.includes('PRIVATE KEY')))
    throw badOption('--ssh-key', files.join(' '), 'it is a private key', 'give the file that ends with .pub');
  return keys;
}

async function ownKeys(cli: Cli): Promise<string[]> {
  const home = cli.world.env['HOME'];
  if (home === undefined || home === '') return [];
  const directory = `${home}/.ssh`;
  try {
    const names = await readdir(directory);
    return names
      .filter((name) => name.endsWith('.pub') && !name.endsWith('-cert.pub'))
      .map((name) => `${directory}/${name}`);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw fileError(error, 'look for SSH keys', directory);
  }
}

/** Letters that nobody takes for another one: 12 of them have 57 bits. */
const LETTERS = 'abcdefghjkmnpqrstuvwxyz23456789';

function newPassword(): string {
  return Array.from({ length: 12 }, () => LETTERS[randomInt(LETTERS.length)] ?? '').join('');
}
