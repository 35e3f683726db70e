/** Groups of limits that disks share by name (`<throttlegroups>`), of guests that run or not. */
import { VirtError } from '../../base/errors.ts';
import type { IoTune } from '../../model/domain/devices/disk.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { Domain } from './domain.ts';
import { checkLimits, merged } from './domain-blocks.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { applyTargeted, type Targets } from './targets.ts';
import type { DomainWorld } from './world.ts';

/** A group, and the targets of the disks that are in it. */
export interface ThrottleGroup {
  readonly name: string;
  readonly limits: Omit<IoTune, 'groupName'>;
  readonly disks: readonly string[];
}

export class DomainThrottleGroups {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /** In the order of the definition: of the running guest, unless the stored one is asked for. */
  list(domain: Domain, options: { readonly inactive?: boolean | undefined } = {}): ThrottleGroup[] {
    const inactive = options.inactive === true;
    const { throttleGroups = [], devices } = this.definitions.definition(domain, { inactive });
    return throttleGroups.map(({ groupName: name = '', ...limits }) => ({
      name,
      limits,
      disks: devices.disks
        .filter(({ throttleFilters = [] }) => throttleFilters.some(({ group }) => group === name))
        .map(({ target }) => target.dev),
    }));
  }

  /** Makes a group, or changes its limits: what `change` has replaces what there was, 0 lifts a limit. @throws VirtError request.invalid, qmp.* */
  async set(domain: Domain, name: string, change: IoTune, targets: Targets): Promise<void> {
    const verb = 'limit disks of';
    if (!/^[A-Za-z0-9_.-]{1,100}$/.test(name))
      throw new VirtError('request.invalid', {
        wanted: `${verb} domain '${domain.name}'`,
        reason: `'${name}' is no name of a throttle group: 1 to 100 letters, digits, and _ . -`,
      });
    const limitsIn = (definition: DomainDef) => ({
      ...merged(groupOf(definition, name), change),
      groupName: name,
    });
    await applyTargeted(this.world, this.definitions, domain, {
      verb,
      targets,
      check: (definition) => checkLimits(domain, limitsIn(definition)),
      live: async () => {
        const { guest } = domain.requireLive(verb);
        const isThere = groupOf(guest.definition, name) !== undefined;
        await guest.tuning.setThrottleGroup(name, limitsIn(guest.definition), isThere);
      },
      definition: (definition) => withGroup(definition, name, limitsIn(definition)),
    });
  }

  /** Takes a group away that no disk is in. @throws VirtError domain.state, request.invalid, qmp.* */
  async remove(domain: Domain, name: string, targets: Targets): Promise<void> {
    const verb = 'take a throttle group of';
    await applyTargeted(this.world, this.definitions, domain, {
      verb,
      targets,
      check: (definition) => refuseUsed(domain, definition, name),
      live: () => domain.requireLive(verb).guest.tuning.removeThrottleGroup(name),
      definition: (definition) => withGroup(definition, name, undefined),
    });
  }
}

function groupOf({ throttleGroups = [] }: DomainDef, name: string): IoTune | undefined {
  return throttleGroups.find(({ groupName }) => groupName === name);
}

/** The definition with that group in its place, or behind the others; without it where there are no limits to have. */
function withGroup(definition: DomainDef, name: string, group: IoTune | undefined): DomainDef {
  const before = definition.throttleGroups ?? [];
  const isThere = groupOf(definition, name) !== undefined;
  const kept = before.flatMap((one) => (one.groupName === name ? (group ?? []) : one));
  const after = group === undefined || isThere ? kept : [...kept, group];
  return { ...definition, throttleGroups: after.length === 0 ? undefined : after };
}

function refuseUsed(domain: Domain, definition: DomainDef, name: string): void {
  const wanted = `take throttle group '${name}' from domain '${domain.name}'`;
  if (groupOf(definition, name) === undefined)
    throw new VirtError('request.invalid', { wanted, reason: `throttle group '${name}' not found` });
  const user = definition.devices.disks.find(({ throttleFilters = [] }) =>
    throttleFilters.some(({ group }) => group === name),
  );
  if (user === undefined) return;
  throw new VirtError('domain.state', {
    wanted,
    reason: `throttle group '${name}' is still being used by disk ${user.target.dev}`,
    hint: 'detach that disk, or take the filter out of it',
  });
}
