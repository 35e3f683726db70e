/** Secrets: passphrases and keys that definitions of disks and pools name by reference, with values kept apart. */
import { randomUUID } from 'node:crypto';
import { reasonOf, VirtError } from '../../base/errors.ts';
import { JobQueue } from '../../base/jobs.ts';
import type { Logger } from '../../base/log.ts';
import type { ParseMode } from '../../base/xml/codec.ts';
import {
  type CompleteSecretDef,
  formatSecret,
  parseSecret,
  type SecretReference,
  type SecretUsageType,
  usageIdOf,
} from '../../model/secret/secret.ts';
import type { DefinitionStore, QuarantinedFile, StoredDefinition } from '../state/definitions.ts';
import { MAX_SECRET_BYTES, type SecretValues } from '../state/secret-values.ts';
import { type ReplaceOptions, replacesByName } from './by-name.ts';
import type { EventBus } from './events.ts';

/** How many secrets there may be (libvirt's protocol: REMOTE_SECRET_LIST_MAX). */
const MAX_SECRETS = 16_384;

/** A secret as lists and events name it. */
export interface SecretIdentity {
  readonly uuid: string;
  readonly usageType: SecretUsageType | null;
  readonly usage: string | null;
}

/** What the daemon holds of one. A stored value is read when it is needed; that of an ephemeral one is here. */
interface Held {
  readonly definition: CompleteSecretDef;
  readonly value: Buffer | undefined;
}

/** Every filter that is given must hold. */
export interface SecretFilter {
  readonly ephemeral?: boolean | undefined;
  readonly private?: boolean | undefined;
}

export interface SecretServiceOptions {
  readonly definitions: DefinitionStore;
  readonly values: SecretValues;
  readonly events: EventBus;
  readonly log: Logger;
  /** How long a change waits for those before it, in milliseconds. */
  readonly jobWaitMs: number;
}

export class SecretService {
  private readonly options: SecretServiceOptions;
  private readonly held = new Map<string, Held>();
  private readonly changes = new JobQueue('the list of secrets', 'secret.busy');
  private aside: QuarantinedFile[] = [];

  constructor(options: SecretServiceOptions) {
    this.options = options;
  }

  /** Reads the stored definitions; what cannot be read is put aside and named in the log. @throws VirtError file.* */
  async open(): Promise<void> {
    const { definitions, values } = this.options;
    const earlier = definitions.quarantined();
    const loaded = definitions.loadAll();
    this.aside = [...earlier, ...loaded.quarantined];
    for (const { uuid, xml } of loaded.definitions) {
      try {
        this.take(uuid, xml);
      } catch (error) {
        this.aside.push(definitions.quarantine(`${uuid}.xml`, reasonOf(error)));
      }
    }
    // The values of what was put aside stay, for whoever mends the definition.
    await values.open(new Set([...this.held.keys(), ...this.aside.flatMap((file) => file.uuid ?? [])]));
  }

  /**
   * Looks at the files again, when an administrator has changed some: new and changed ones are taken over. A broken one is
   * put aside; a secret that is known goes on with the definition it had, which is written anew.
   */
  async rescan(): Promise<void> {
    const { definitions, events, log } = this.options;
    await this.change('reload', async () => {
      this.aside = definitions.quarantined();
      for (const file of definitions.files()) {
        const known = this.held.get(file.slice(0, -'.xml'.length))?.definition;
        try {
          const { uuid, xml } = definitions.read(file);
          if (known !== undefined && xml === formatSecret(known)) continue;
          const secret = identityOf(this.take(uuid, xml));
          events.publish({ event: 'secret.defined', secret, isNew: known === undefined });
        } catch (error) {
          this.aside.push(definitions.quarantine(file, reasonOf(error)));
          if (known === undefined) continue;
          await definitions.save(storedForm(known));
          log.warn({ secret: known.uuid }, 'the definition in use was written again');
        }
      }
    });
  }

  /** @throws Error, VirtError with what is wrong with a stored definition */
  private take(uuid: string, xml: string): CompleteSecretDef {
    const { definition } = parseSecret(xml, { mode: 'lenient' });
    if (definition.uuid !== uuid) throw new Error('the definition has another UUID than the file');
    // One in memory has no file, and its value would be lost with this.
    if (definition.ephemeral) throw new Error('a stored secret cannot be ephemeral');
    const secret = { ...definition, uuid };
    this.refuseTaken(secret);
    this.held.set(uuid, { definition: secret, value: undefined });
    return secret;
  }

  /** Definitions that could not be read and were put aside. */
  get quarantined(): readonly QuarantinedFile[] {
    return this.aside;
  }

  /** The secrets that fit, by uuid. */
  list(filter: SecretFilter = {}): CompleteSecretDef[] {
    return [...this.held.values()]
      .map(({ definition }) => definition)
      .filter(
        (one) =>
          (filter.ephemeral === undefined || one.ephemeral === filter.ephemeral) &&
          (filter.private === undefined || one.private === filter.private),
      )
      .sort((a, b) => (a.uuid < b.uuid ? -1 : 1));
  }

  /** @throws VirtError secret.not-found */
  find(reference: SecretReference): CompleteSecretDef {
    const found =
      'uuid' in reference
        ? this.held.get(reference.uuid.toLowerCase())?.definition
        : this.withUsage(reference.type, reference.usage);
    if (found !== undefined) return found;
    const words =
      'uuid' in reference ? `uuid '${reference.uuid}'` : `${reference.type} usage '${reference.usage}'`;
    throw new VirtError('secret.not-found', {
      reason: `no secret with matching ${words}`,
      hint: "'vireo secret list' shows all secrets",
    });
  }

  /** The secret that is for that: a volume by its path, a server by its name. */
  uuidFor(type: SecretUsageType, usage: string): string | undefined {
    return this.withUsage(type, usage)?.uuid;
  }

  private withUsage(type: SecretUsageType, id: string): CompleteSecretDef | undefined {
    for (const { definition } of this.held.values())
      if (definition.usage?.type === type && usageIdOf(definition.usage) === id) return definition;
    return undefined;
  }

  /** Whether it has a value. */
  hasValue({ uuid, ephemeral }: CompleteSecretDef): boolean {
    return ephemeral ? this.held.get(uuid)?.value !== undefined : this.options.values.has(uuid);
  }

  /** The definition as libvirt's secret XML. */
  xml(secret: CompleteSecretDef): string {
    return formatSecret(secret);
  }

  /**
   * Stores a definition, new or in place of the one with its uuid; a value stays. A secret that was private stays private, since its value was
   * given under that promise.
   * @throws VirtError xml.*, secret.exists, secret.private, secret.busy, file.*
   */
  async define(
    xml: string,
    mode: ParseMode,
    options: ReplaceOptions = {},
  ): Promise<{ readonly secret: CompleteSecretDef; readonly dropped: readonly string[] }> {
    const { definition, dropped } = parseSecret(xml, { mode });
    return this.change('define', async () => {
      const { usage } = definition;
      const same =
        usage && replacesByName(mode, options) ? this.withUsage(usage.type, usageIdOf(usage)) : undefined;
      const secret = { ...definition, uuid: definition.uuid ?? same?.uuid ?? randomUUID() };
      this.refuseTaken(secret);
      const previous = this.held.get(secret.uuid);
      await this.store(secret, previous);
      const isNew = previous === undefined;
      this.options.events.publish({ event: 'secret.defined', secret: identityOf(secret), isNew });
      return { secret, dropped };
    });
  }

  /** Sees whether a new document could be defined; nothing is stored. Its answer is what would be left out. @throws as `define` */
  rehearse(xml: string, mode: ParseMode): readonly string[] {
    const { definition, dropped } = parseSecret(xml, { mode });
    this.refuseTaken({ ...definition, uuid: definition.uuid ?? randomUUID() });
    return dropped;
  }

  private refuseTaken(secret: CompleteSecretDef): void {
    const wanted = `define secret ${secret.uuid}`;
    const previous = this.held.get(secret.uuid)?.definition;
    if (previous !== undefined && nameOf(previous) !== nameOf(secret))
      throw new VirtError('secret.exists', {
        wanted,
        reason: `a secret with that uuid is already defined for use with ${nameOf(previous)}`,
        hint: 'leave the uuid out, or undefine the other one first',
      });
    if (previous?.private === true && !secret.private)
      throw new VirtError('secret.private', {
        wanted,
        reason: 'it is private, and its value would be shown',
        hint: 'undefine it first; its value goes with it',
      });
    const other = secret.usage && this.withUsage(secret.usage.type, usageIdOf(secret.usage));
    if (other !== undefined && other.uuid !== secret.uuid)
      throw new VirtError('secret.exists', {
        wanted,
        reason: `secret ${other.uuid} is already defined for use with ${nameOf(other)}`,
        hint: 'give its uuid to change that one',
      });
    if (previous === undefined && this.held.size >= MAX_SECRETS)
      throw new VirtError('request.too-large', {
        wanted,
        reason: `there are ${MAX_SECRETS} secrets already`,
      });
  }

  /** A value moves with its secret between memory and disk. */
  private async store(secret: CompleteSecretDef, previous: Held | undefined): Promise<void> {
    const { definitions, values } = this.options;
    const { uuid } = secret;
    if (secret.ephemeral) {
      const value = previous?.value ?? values.read(uuid);
      await definitions.remove(uuid);
      await values.remove(uuid);
      this.held.set(uuid, { definition: secret, value });
      return;
    }
    if (previous?.value !== undefined) await values.write(uuid, previous.value);
    await definitions.save(storedForm(secret));
    previous?.value?.fill(0);
    this.held.set(uuid, { definition: secret, value: undefined });
  }

  /** Forgets a secret and its value. Guests that run go on. @throws VirtError secret.not-found, secret.busy, file.* */
  async undefine(reference: SecretReference): Promise<SecretIdentity> {
    return this.change('undefine', async () => {
      const secret = this.find(reference);
      const { definitions, values, events } = this.options;
      // The value first: what is cut off here leaves a secret without one, never a value without a secret.
      await values.remove(secret.uuid);
      await definitions.remove(secret.uuid);
      this.held.get(secret.uuid)?.value?.fill(0);
      this.held.delete(secret.uuid);
      const identity = identityOf(secret);
      events.publish({ event: 'secret.undefined', secret: identity });
      return identity;
    });
  }

  /**
   * Gives it a value, in place of the one it had. The buffer is filled with zeros when this settles.
   * @throws VirtError secret.not-found, request.too-large, secret.busy, file.*
   */
  async setValue(reference: SecretReference, value: Buffer): Promise<SecretIdentity> {
    try {
      return await this.change('set-value', async () => {
        const secret = this.find(reference);
        if (value.length > MAX_SECRET_BYTES)
          throw new VirtError('request.too-large', {
            wanted: `set the value of secret ${secret.uuid}`,
            reason: `it is longer than ${MAX_SECRET_BYTES} bytes`,
          });
        if (secret.ephemeral) {
          this.held.get(secret.uuid)?.value?.fill(0);
          this.held.set(secret.uuid, { definition: secret, value: Buffer.from(value) });
        } else await this.options.values.write(secret.uuid, value);
        const identity = identityOf(secret);
        this.options.events.publish({ event: 'secret.value-changed', secret: identity });
        return identity;
      });
    } finally {
      value.fill(0);
    }
  }

  /**
   * The value for a client, in a buffer that the caller fills with zeros.
   * @throws VirtError secret.not-found, secret.private, secret.no-value
   */
  value(reference: SecretReference): Buffer {
    const secret = this.find(reference);
    if (secret.private)
      throw new VirtError('secret.private', {
        wanted: `show the value of secret ${secret.uuid}`,
        reason: 'it is private: guests and pools use it, nobody sees it',
      });
    return this.valueForUse(reference);
  }

  /**
   * The value for a guest or a pool, private or not, in a buffer that the caller fills with zeros. Never for a client.
   * @throws VirtError secret.not-found, secret.no-value
   */
  valueForUse(reference: SecretReference): Buffer {
    const { uuid, ephemeral } = this.find(reference);
    const kept = this.held.get(uuid)?.value;
    const value = ephemeral ? kept && Buffer.from(kept) : this.options.values.read(uuid);
    if (value !== undefined) return value;
    throw new VirtError('secret.no-value', {
      reason: `secret ${uuid} has no value`,
      hint: `give it one: 'vireo secret set-value ${uuid}'`,
    });
  }

  private change<T>(name: string, work: () => Promise<T>): Promise<T> {
    return this.changes.run(name, work, { waitMs: this.options.jobWaitMs });
  }
}

/** As its file has it. */
function storedForm(secret: CompleteSecretDef): StoredDefinition {
  return { uuid: secret.uuid, name: nameOf(secret), autostart: false, xml: formatSecret(secret) };
}

/** As events and lists name it. */
export function identityOf({ uuid, usage }: CompleteSecretDef): SecretIdentity {
  return { uuid, usageType: usage?.type ?? null, usage: usage === undefined ? null : usageIdOf(usage) };
}

/** A text of its own for each secret: `ceph:client.admin`, or the uuid of one that is for nothing in particular. */
function nameOf({ uuid, usage }: CompleteSecretDef): string {
  return usage === undefined ? uuid : `${usage.type}:${usageIdOf(usage)}`;
}
