/** What becomes of a domain when its guest powers off, reboots or crashes, and what its display serves with: changed as it runs. */
import { VirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { lifecycleActions } from '../../model/domain/events.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { applyTargeted, type Targets } from './targets.ts';
import type { DomainWorld } from './world.ts';

/** What a guest does by itself, as the definition's fields name it. */
export type LifecycleEvent = keyof typeof lifecycleActions;

/** What a definition can say about any of them. */
export type LifecycleAction = NonNullable<DomainDef['onCrash']>;

export class DomainPolicies {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /**
   * Sets what an event of the guest comes to.
   * @throws VirtError definition.unsupported, domain.inactive, domain.transient, qmp.*
   */
  async setAction(
    domain: Domain,
    event: LifecycleEvent,
    action: LifecycleAction,
    targets: Targets,
  ): Promise<void> {
    this.refuseUnknown(domain, event, action);
    const definition = (before: DomainDef): DomainDef => ({ ...before, [event]: action });
    // What cannot be is known to whoever would start it so.
    await this.world.driver.check(definition(this.definitions.definition(domain, { inactive: true })));
    const verb = 'set a lifecycle action of';
    await applyTargeted(this.world, this.definitions, domain, {
      verb,
      targets,
      // Of the three, only a reset happens inside QEMU; the others wait for us.
      live: async () => {
        if (event !== 'onReboot') return;
        const { guest } = domain.requireLive(verb);
        await guest.setResetAction(action === 'destroy' ? 'power-off' : 'reset');
      },
      definition,
    });
  }

  /** No document can say that a guest that powers off leaves a core dump. */
  private refuseUnknown(domain: Domain, event: LifecycleEvent, action: LifecycleAction): void {
    const known: readonly string[] = lifecycleActions[event];
    if (known.includes(action)) return;
    throw new VirtError('definition.unsupported', {
      wanted: `set a lifecycle action of domain '${domain.name}'`,
      reason: `Lifecycle event '${event.slice('on'.length).toLowerCase()}' doesn't support '${action}' action`,
    });
  }

  /** Has QEMU read its VNC server's certificates again. @throws VirtError domain.inactive, qmp.failed */
  async reloadGraphics(domain: Domain): Promise<void> {
    await domain.requireLive('reload the graphics of').guest.reloadVncCertificates();
  }
}
