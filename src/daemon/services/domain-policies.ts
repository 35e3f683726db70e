/** What becomes of a domain when its guest powers off, reboots or crashes, and what its display serves with: changed as it runs. */
import type { DomainDef } from '../../model/domain/domain.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { applyTargeted, type Targets } from './targets.ts';
import type { DomainWorld } from './world.ts';

/** What a guest does by itself, as the definition's fields name it. */
export type LifecycleEvent = 'onPoweroff' | 'onReboot' | 'onCrash';

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

  /** Has QEMU read its VNC server's certificates again. @throws VirtError domain.inactive, qmp.failed */
  async reloadGraphics(domain: Domain): Promise<void> {
    await domain.requireLive('reload the graphics of').guest.reloadVncCertificates();
  }
}
