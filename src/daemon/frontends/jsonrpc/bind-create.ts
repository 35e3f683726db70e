/** Methods that make a domain and start it, from a short description or from XML. */
import type { Params } from '../../../api/index.ts';
import { VirtError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { parseDomain } from '../../../model/domain/domain.ts';
import type { ImageGuests } from '../../services/domain-image.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { networksOf, startNetworks } from '../../services/network-demand.ts';
import type { NetworkService } from '../../services/network-service.ts';
import { destroyOnClose, ownerOf } from './autodestroy.ts';
import { summaryOf } from './domain-shapes.ts';
import type { CallContext, Handlers } from './handlers.ts';

export interface CreationParts {
  readonly domains: DomainService;
  /** Started when a new guest is on them; a session has none. */
  readonly networks?: NetworkService | undefined;
  readonly imageGuests: ImageGuests;
  readonly log: Logger;
}

export function bindCreation({ domains, networks, imageGuests, log }: CreationParts) {
  return {
    'domain.create': async (params, context) => {
      const cards = (params.networks ?? []).flatMap((card) => (card.type === 'network' ? [card.source] : []));
      if (params.start || params.transient) await startNetworks(networks, cards);
      const { image, ...rest } = params;
      const request = createRequest(rest, networks, context);
      const created =
        image === undefined
          ? { ...(await domains.creation.create(request)), user: null }
          : await imageGuests.create(request, image, context.signal);
      if (params.autodestroy) destroyOnClose(domains, context, log);
      const { domain, warnings, user } = created;
      return { domain: summaryOf(domains, domain), warnings: [...warnings], login: user };
    },
    'domain.create-xml': async ({ xml, strict, paused, autodestroy }, context) => {
      const mode = strict ? 'strict' : 'lenient';
      const { definition, dropped } = parseDomain(xml, { mode });
      const request = { paused, ...ownerOf(autodestroy, context) };
      await startNetworks(networks, networksOf(definition));
      const domain = await domains.lifecycle.create(definition, request, mode);
      if (autodestroy) destroyOnClose(domains, context, log);
      return { domain: summaryOf(domains, domain), dropped: [...dropped] };
    },
  } satisfies Partial<Handlers>;
}

/** The card of a guest whose maker said nothing: in the network that every installation has, where it is active. */
function defaultCard(networks: NetworkService | undefined): NetworkParams {
  const isActive = networks?.list({ active: true }).some(({ name }) => name === 'default') ?? false;
  return isActive ? { type: 'network', source: 'default' } : { type: 'user', portForwards: [] };
}

function createRequest(
  params: Omit<Params<'domain.create'>, 'image'>,
  service: NetworkService | undefined,
  context: CallContext,
) {
  const { start, paused, transient, autostart, autodestroy, disks, virtType, ...spec } = params;
  if (transient && autostart)
    throw new VirtError('request.invalid', {
      wanted: `create domain '${params.name}'`,
      reason: 'a transient domain cannot start with the daemon',
      details: { problems: [{ path: 'autostart', message: 'does not go with transient' }] },
    });
  if (autodestroy && !start && !transient)
    throw new VirtError('request.invalid', {
      wanted: `create domain '${params.name}'`,
      reason: 'autodestroy is for a domain that is started',
      details: { problems: [{ path: 'autodestroy', message: 'needs start or transient' }] },
    });
  const networks = (spec.networks ?? [defaultCard(service)]).map(networkOf);
  return {
    spec: { ...spec, networks },
    disks,
    virtType,
    start,
    paused,
    transient,
    autostart,
    ...ownerOf(autodestroy, context),
  };
}

type NetworkParams = NonNullable<Params<'domain.create'>['networks']>[number];

function networkOf(network: NetworkParams) {
  return network.type === 'user' ? network : { ...network, portForwards: [] };
}
