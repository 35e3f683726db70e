/** Params and results that methods about libvirt's documents share, whatever the document defines. */
import * as z from 'zod';
import { xmlDocument } from './domain-objects.ts';

/** Whether a document may hold what we don't know. */
export const strict = z
  .boolean()
  .default(true)
  .describe('Refuse elements and attributes we do not know; else they are dropped.');

/** What became of the rest when it was not strict. */
export const dropped = z.array(z.string()).describe('Paths of what was dropped.');

const uri = z.string().min(1).max(4096).describe('Namespace of the element.');

/** Which metadata element is asked for. */
export const metadataQuery = {
  uri,
  inactive: z.boolean().default(false).describe('From the stored definition.'),
};

/** A metadata element that is set or removed. */
export const metadataChange = {
  uri,
  key: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/, 'must be an XML name without colon')
    .optional()
    .describe('Namespace prefix to write it with. Must be given with `xml`.'),
  xml: xmlDocument.nullable().describe('The element; null removes it.'),
};
