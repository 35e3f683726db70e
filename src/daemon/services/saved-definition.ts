/** The definition with which a guest goes on from a saved state. */
import { dirname } from 'node:path';
import { VirtError } from '../../base/errors.ts';
import { parseXml } from '../../base/xml/parse.ts';
import { childOf, formatXml } from '../../base/xml/tree.ts';
import type { LiveGuest } from '../../drivers/driver.ts';
import { dropChosenPaths } from '../../model/domain/chosen-paths.ts';
import { type DomainDef, formatDomain, parseDomain } from '../../model/domain/domain.ts';
import { guestDifference } from '../../model/domain/guest-view.ts';
import { migratableForm } from '../../model/domain/migratable.ts';
import type { SavedHead } from '../../model/saved-state/image.ts';
import { filterRestored } from '../hooks/domain-hooks.ts';
import type { Hooks } from '../hooks/hooks.ts';

/**
 * The definition that goes into a file with a state: as the guest runs, or the given one where it cannot tell them apart;
 * in the form that another host takes, with secrets.
 * @throws VirtError definition.unsupported naming what the guest would see, xml.*
 */
export function savedText({ definition, record }: LiveGuest, given?: string): string {
  const other = given === undefined ? undefined : parseDomain(given, { mode: 'lenient' }).definition;
  if (other !== undefined) refuseOtherGuest(definition.name, definition, other);
  // Sockets in the directories of guests are chosen anew by whoever lets it go on.
  const own = dropChosenPaths(other ?? definition, [dirname(record.directory)]);
  return formatDomain(migratableForm(own), { inactive: true, secure: true });
}

/** The definition of a state, or the given one where a guest cannot tell them apart. */
export function definitionFor(head: SavedHead, given: string | undefined): DomainDef {
  const saved = withoutLibvirtsGroup(withCookie(head));
  if (given === undefined) return saved;
  const { definition } = parseDomain(given, { mode: 'lenient' });
  refuseOtherGuest(saved.name, saved, definition);
  return definition;
}

/**
 * The same with what the administrator's scripts make of it, who move files to other places (libvirt's hooks.html, "restore").
 * @throws VirtError hook.refused, xml.*, definition.unsupported naming what the guest would see
 */
export async function filteredDefinition(
  hooks: Hooks | undefined,
  head: SavedHead,
  given: string | undefined,
  signal?: AbortSignal,
): Promise<DomainDef> {
  const definition = definitionFor(head, given);
  const written = await filterRestored(hooks, definition, signal);
  return written === undefined ? definition : definitionFor(head, written);
}

/** libvirt writes where it had put the guest's control group, when nobody had asked for any place. */
function withoutLibvirtsGroup(definition: DomainDef): DomainDef {
  const { resource, ...rest } = definition;
  return resource?.partition === '/machine' && resource.fibrechannelAppid === undefined
    ? { ...rest, resource: undefined }
    : definition;
}

/** libvirt's cookie has the processor that the guest really had, where the definition only names a wish. */
function withCookie({ xml, cookie }: SavedHead): DomainDef {
  const cpu = cookie === undefined ? undefined : childOf(parseXml(cookie), 'cpu');
  if (cpu === undefined) return parseDomain(xml, { mode: 'lenient' }).definition;
  const root = parseXml(xml);
  const at = root.children.findIndex((child) => typeof child === 'object' && child.name === 'cpu');
  if (at === -1) root.children.push(cpu);
  else root.children[at] = cpu;
  return parseDomain(formatXml(root), { mode: 'lenient' }).definition;
}

/** @throws VirtError definition.unsupported naming what the guest would see */
function refuseOtherGuest(name: string, before: DomainDef, after: DomainDef): void {
  const path = guestDifference(migratableForm(before), migratableForm(after));
  if (path === undefined) return;
  const message = 'differs from what the guest had when it was saved';
  throw new VirtError('definition.unsupported', {
    wanted: `go on with domain '${name}'`,
    reason: `${path} ${message}`,
    hint: 'change only what the guest does not see: files, networks, limits, displays',
    details: { problems: [{ path, message }] },
  });
}
