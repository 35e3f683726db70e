/** The host's firewall as networks use it: which backend, and the rules of each network kept in place by it. */
import { readFileSync } from 'node:fs';
import { errnoOf, VirtError } from '../../base/errors.ts';
import { findProgram, run } from '../../base/exec.ts';
import type { Logger } from '../../base/log.ts';
import type { FirewallBackendName, NetworkPlan } from '../plan.ts';
import type { FirewallBackend } from './backend.ts';
import { IptablesBackend, type OldTables } from './iptables.ts';
import { type BaseChain, listBaseChains, nftGeneration } from './nft-kernel.ts';
import { nftTable } from './nft-rules.ts';
import { nftablesBackend } from './nftables.ts';
import { buildRuleset } from './ruleset.ts';

/** `auto` takes what fits the host. */
export type FirewallChoice = FirewallBackendName | 'auto';

export interface FirewallFacts {
  readonly available: readonly FirewallBackendName[];
  readonly chains: readonly BaseChain[];
  /** iptables' own INPUT or FORWARD drops by default: Docker, ufw and their like. */
  readonly isIptablesDropping: boolean;
  readonly isForwardPolicyDrop: boolean;
  readonly isDockerPresent: boolean;
  readonly isFirewalldRunning: boolean;
}

/** What is applied for a network, and by which backend. */
export interface Applied {
  readonly plan: NetworkPlan;
  readonly backend: FirewallBackendName;
}

/** Rules that need a look although nf_tables saw no change: the old iptables keeps its tables elsewhere. */
const LEGACY_CHECK_MS = 25_000;

export class Firewall {
  private readonly choice: FirewallChoice;
  private readonly backends: Readonly<Record<'nftables' | 'iptables', FirewallBackend>>;
  private readonly applied = new Map<string, Applied>();
  private generation: number | undefined;
  private checkedAt = 0;
  private last: Promise<unknown> = Promise.resolve();

  constructor(options: { readonly choice: FirewallChoice; readonly log: Logger }) {
    this.choice = options.choice;
    this.backends = { nftables: nftablesBackend, iptables: new IptablesBackend(options.log, oldTables) };
  }

  /**
   * Puts a network's rules in place. When another backend fits the host better than at the last time (Docker has come
   * and drops what is forwarded), the new rules are in force before the old ones go.
   * @param before what an earlier daemon had applied, when this one has not
   * @param chosen what `choose` has just said for this plan
   * @throws VirtError program.missing, program.failed
   */
  apply(plan: NetworkPlan, before?: Applied, chosen?: FirewallBackendName): Promise<boolean> {
    return this.inTurn(() => this.applyNow(plan, before, chosen));
  }

  /** Two at once would both find a chain missing, and both add the jump to it. */
  private inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const next = this.last.then(work);
    // The failure is its caller's to handle; the next in turn starts all the same.
    this.last = next.catch(() => undefined);
    return next;
  }

  private async applyNow(
    plan: NetworkPlan,
    before: Applied | undefined,
    chosen?: FirewallBackendName,
  ): Promise<boolean> {
    const known = this.applied.get(plan.uuid) ?? before;
    const name = chosen ?? (await this.choose(plan));
    const previous = known && known.backend === name ? known.plan : undefined;
    const isChanged = name === 'none' ? false : await this.backends[name].apply(plan, previous);
    this.applied.set(plan.uuid, { plan, backend: name });
    if (known && known.backend !== name && known.backend !== 'none')
      await this.backends[known.backend].drop(known.plan);
    return isChanged;
  }

  /** Takes a network's rules away. Idempotent. */
  drop(plan: NetworkPlan, before?: Applied): Promise<void> {
    return this.inTurn(() => this.dropNow(plan, before));
  }

  private async dropNow(plan: NetworkPlan, before: Applied | undefined): Promise<void> {
    const known = this.applied.get(plan.uuid) ?? before;
    this.applied.delete(plan.uuid);
    if (known === undefined || known.backend === 'none') return;
    await this.backends[known.backend].drop(known.plan);
  }

  /** Which backend holds a network's rules. */
  backendOf(plan: NetworkPlan): FirewallBackendName | undefined {
    return this.applied.get(plan.uuid)?.backend;
  }

  /** The backend that fits a network on this host as it is now. @throws VirtError program.missing */
  async choose(plan: NetworkPlan): Promise<FirewallBackendName> {
    if (this.choice === 'none' || buildRuleset(plan).length === 0) return 'none';
    const facts = await this.facts();
    const name = pickBackend(this.choice, facts);
    if (name !== undefined) return name;
    const wanted = `set up the firewall of network '${plan.name}'`;
    throw new VirtError('program.missing', {
      wanted,
      reason:
        this.choice === 'auto'
          ? 'neither nft nor iptables can be used on this host'
          : `${this.choice} cannot be used on this host`,
      hint: 'install nftables; in a container also give it CAP_NET_ADMIN and its own network namespace',
    });
  }

  /** The backend a network would get now. */
  async current(facts: FirewallFacts): Promise<FirewallBackendName> {
    return pickBackend(this.choice, facts) ?? 'none';
  }

  async facts(): Promise<FirewallFacts> {
    const hasNft = nftGeneration() !== undefined;
    const chains = hasNft ? listBaseChains().filter(({ table }) => table !== nftTable) : [];
    const legacy = await legacyRules();
    const [nft, save, restore] = await Promise.all([
      isInstalled('nft'),
      isInstalled('iptables-save'),
      isInstalled('iptables-restore'),
    ]);
    const dropping = chains.filter(({ isDropping }) => isDropping);
    const isIptablesDropping = isDropping(legacy) || dropping.some((chain) => isIptablesChain(chain));
    return {
      available: [
        ...(nft && hasNft ? (['nftables'] as const) : []),
        ...(save && restore ? (['iptables'] as const) : []),
      ],
      chains,
      isIptablesDropping,
      isForwardPolicyDrop:
        /^-P FORWARD DROP$/m.test(legacy) || dropping.some(({ hook }) => hook === 'forward'),
      isDockerPresent: /^-N DOCKER/m.test(legacy) || hasLink('docker0'),
      isFirewalldRunning: chains.some(({ table }) => table === 'firewalld'),
    };
  }

  /**
   * Looks whether the rules are still there and restores what isn't. Costs one netlink message as long as nobody has
   * changed any rule on the host. Returns the networks whose rules had to be put back.
   */
  async check(): Promise<NetworkPlan[]> {
    const generation = nftGeneration();
    const now = performance.now();
    const isQuiet = generation !== undefined && generation === this.generation;
    if (isQuiet && now - this.checkedAt < LEGACY_CHECK_MS) return [];
    const usesLegacy = generation === undefined || (await legacyRules()) !== '';
    if (isQuiet && !usesLegacy) {
      this.checkedAt = now;
      return [];
    }
    const restored: NetworkPlan[] = [];
    for (const uuid of [...this.applied.keys()]) {
      const plan = await this.inTurn(() => this.restore(uuid));
      if (plan) restored.push(plan);
    }
    this.generation = nftGeneration();
    this.checkedAt = now;
    return restored;
  }

  /** Which plan is in force is asked here and not before: it may change while this waits for its turn. */
  private async restore(uuid: string): Promise<NetworkPlan | undefined> {
    const known = this.applied.get(uuid);
    if (known === undefined) return undefined;
    return (await this.applyNow(known.plan, undefined)) ? known.plan : undefined;
  }

  /** Forgets what is applied; the rules stay. */
  detach(): void {
    this.applied.clear();
  }
}

/** True for the built-in chains of iptables-nft. */
function isIptablesChain({ family, table, name }: BaseChain): boolean {
  return ['ip', 'ip6'].includes(family) && table === 'filter' && ['FORWARD', 'INPUT'].includes(name);
}

/**
 * nftables, unless iptables' chains drop by default: an accept in a table of our own doesn't overrule that, one in
 * iptables' own chains does. Undefined when nothing can be used.
 */
function pickBackend(choice: FirewallChoice, facts: FirewallFacts): FirewallBackendName | undefined {
  if (choice === 'none') return 'none';
  if (choice !== 'auto') return facts.available.find((name) => name === choice);
  const preferred = facts.isIptablesDropping ? 'iptables' : 'nftables';
  return facts.available.find((name) => name === preferred) ?? facts.available[0];
}

// Programs are looked for once: a daemon restart finds new ones.
const installed = new Map<string, boolean>();

async function isInstalled(name: string): Promise<boolean> {
  const known = installed.get(name);
  if (known !== undefined) return known;
  const isThere = (await findProgram(name)) !== undefined;
  installed.set(name, isThere);
  return isThere;
}

/** The rules of the old iptables, where its tables are in use; '' on today's hosts. */
async function legacyRules(): Promise<string> {
  let tables: string;
  try {
    tables = readFileSync('/proc/net/ip_tables_names', 'utf8');
  } catch (error) {
    // The module of the old iptables was never loaded, or the kernel hides it from us.
    if (['ENOENT', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) return '';
    throw error;
  }
  if (!tables.split('\n').includes('filter') || !(await isInstalled('iptables-legacy'))) return '';
  return (await run('iptables-legacy', ['-S'], { timeoutMs: 10_000 })).stdout;
}

/** What the old tables are beside an `iptables` that uses others; where it uses them itself, nothing is apart. */
async function oldTables(): Promise<OldTables> {
  const rules = await legacyRules();
  if (rules === '' || (await isOldIptables())) return 'none';
  return isDropping(rules) ? 'dropping' : 'present';
}

const isDropping = (rules: string): boolean => /^-P (FORWARD|INPUT) DROP$/m.test(rules);

let isOld: Promise<boolean> | undefined;

/** iptables(8), --version: `(nf_tables)` or `(legacy)`; before 1.8 there was only the old one. */
function isOldIptables(): Promise<boolean> {
  isOld ??= run('iptables', ['--version'], { timeoutMs: 10_000 }).then(
    ({ stdout }) => !stdout.includes('nf_tables'),
  );
  return isOld;
}

function hasLink(name: string): boolean {
  try {
    readFileSync(`/proc/sys/net/ipv4/conf/${name}/forwarding`);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}
