/**
 * Templates: domains that are there to be cloned. The mark stands in the definition's metadata, so that it goes where the
 * definition goes, and libvirt's tools leave it alone.
 */
import { xmlElement } from '../../base/xml/tree.ts';
import type { DomainDef } from './domain.ts';
import { findMetadata, withMetadata } from './metadata.ts';

export const templateNamespace = 'urn:vireo:domain:template:1';
const PREFIX = 'vireo-template';

export const isTemplate = ({ metadata }: Pick<DomainDef, 'metadata'>): boolean =>
  findMetadata(metadata, templateNamespace) !== undefined;

/** The definition with or without the mark. */
export function markedAsTemplate(definition: DomainDef, template: boolean): DomainDef {
  const mark = template ? { element: xmlElement('template'), prefix: PREFIX } : undefined;
  return { ...definition, metadata: withMetadata(definition.metadata, templateNamespace, mark) };
}
