/** Guests and their host: in which order they start with it, and how they end before it does. */
import { isVirtError, reasonOf } from '../../base/errors.ts';
import {
  type HostDownAction,
  type PowerOrder,
  powerOrderOf,
  withPowerOrder,
} from '../../model/domain/power-order.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import type { DomainLifecycle } from './domain-lifecycle.ts';
import type { DomainSaves } from './domain-saves.ts';
import type { DomainWait } from './domain-wait.ts';
import type { DomainWorld } from './world.ts';

export interface HostDownRequest {
  /** For guests whose definition says nothing. */
  readonly action: HostDownAction;
  readonly timeoutSeconds: number;
  /** What becomes of a guest that has not shut down in time. */
  readonly late: 'destroy' | 'save' | 'leave';
  /** Only tell what would be done. */
  readonly dryRun: boolean;
  readonly signal?: AbortSignal;
}

/** One guest's end. */
export interface HostDownStep {
  readonly domain: Domain;
  readonly name: string;
  readonly order: number;
  readonly action: HostDownAction;
  readonly timeoutSeconds: number;
  /** Undefined where nothing was done: a dry run. */
  readonly outcome?: 'off' | 'saved' | 'destroyed' | 'running' | 'failed';
  readonly problem?: string;
}

interface Parts {
  readonly definitions: DomainDefinitions;
  readonly lifecycle: DomainLifecycle;
  readonly saves: DomainSaves;
  readonly waiting: DomainWait;
}

export class DomainPowerOrder {
  private readonly world: DomainWorld;
  private readonly parts: Parts;

  constructor(world: DomainWorld, parts: Parts) {
    this.world = world;
    this.parts = parts;
  }

  get(domain: Domain): PowerOrder {
    return powerOrderOf(this.parts.definitions.definition(domain, { inactive: true }));
  }

  /** Changes what is given, in the stored and in the running definition. @throws VirtError domain.busy, file.* */
  async set(domain: Domain, change: Partial<PowerOrder>): Promise<PowerOrder> {
    await this.parts.definitions.change(domain, 'set power order', (definition) =>
      withPowerOrder(definition, { ...powerOrderOf(definition), ...change }),
    );
    return this.get(domain);
  }

  /**
   * Ends all running guests before the host goes down: those of the highest number first, those of one number together.
   * A guest that fails holds up nobody; what became of each is told.
   */
  async endAll(request: HostDownRequest): Promise<HostDownStep[]> {
    const steps = this.plan(request);
    if (request.dryRun) return steps;
    const done: HostDownStep[] = [];
    for (const order of new Set(steps.map((step) => step.order))) {
      const together = steps.filter((step) => step.order === order);
      done.push(...(await Promise.all(together.map((step) => this.endOne(step, request)))));
    }
    return done;
  }

  private plan(request: HostDownRequest): HostDownStep[] {
    const steps = [...this.world.registry.all]
      .filter(({ isActive }) => isActive)
      .map((domain) => {
        const said = this.get(domain);
        const action = said.hostDown ?? request.action;
        return {
          domain,
          name: domain.name,
          order: said.order,
          // The daemon keeps no state of a transient guest.
          action: action === 'save' && !domain.isPersistent ? ('shutdown' as const) : action,
          timeoutSeconds: said.timeoutSeconds ?? request.timeoutSeconds,
        };
      });
    return steps.sort((a, b) => b.order - a.order || (a.name < b.name ? -1 : 1));
  }

  private async endOne(step: HostDownStep, request: HostDownRequest): Promise<HostDownStep> {
    try {
      return { ...step, outcome: await this.act(step, request) };
    } catch (error) {
      this.world.log.error({ err: error, domain: step.name }, 'a guest could not be ended for the host');
      return { ...step, outcome: 'failed', problem: reasonOf(error) };
    }
  }

  private async act(
    { domain, action, timeoutSeconds }: HostDownStep,
    request: HostDownRequest,
  ): Promise<NonNullable<HostDownStep['outcome']>> {
    switch (action) {
      case 'leave':
        return 'running';
      case 'save':
        await this.parts.saves.managedSave(domain, {});
        return 'saved';
      case 'destroy':
        await this.parts.lifecycle.destroy(domain, { graceful: false });
        return 'destroyed';
      case 'shutdown':
        return this.shutDown(domain, timeoutSeconds, request);
      default:
        return action satisfies never;
    }
  }

  private async shutDown(
    domain: Domain,
    timeoutSeconds: number,
    { late, signal }: HostDownRequest,
  ): Promise<'off' | 'saved' | 'destroyed' | 'running'> {
    const { lifecycle, saves, waiting } = this.parts;
    try {
      await lifecycle.shutdown(domain, 'auto');
      const limit = { timeoutMs: timeoutSeconds * 1000, ...(signal && { signal }) };
      await waiting.wait(domain, 'shutoff', limit);
      return 'off';
    } catch (error) {
      // A transient guest is gone with its end, a moment before it was waited for.
      if (!domain.isActive) return 'off';
      if (!isVirtError(error, 'operation.timeout')) throw error;
    }
    if (late === 'leave') return 'running';
    if (late === 'save' && domain.isPersistent) {
      await saves.managedSave(domain, {});
      return 'saved';
    }
    await lifecycle.destroy(domain, { graceful: false });
    return 'destroyed';
  }
}
