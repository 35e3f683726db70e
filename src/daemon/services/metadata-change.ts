/** What a client gives to set or remove the metadata element of one namespace, of a domain or a network. */
import { VirtError } from '../../base/errors.ts';
import { parseXml } from '../../base/xml/parse.ts';
import type { withMetadata } from '../../model/domain/metadata.ts';

/**
 * What takes the place of the element: undefined (for null) removes it. `prefix` is what it is written with.
 * @throws VirtError request.invalid, xml.malformed
 */
export function metadataReplacement(
  xml: string | null,
  prefix: string | undefined,
): Parameters<typeof withMetadata>[2] {
  if (xml === null) return undefined;
  if (prefix === undefined)
    throw new VirtError('request.invalid', {
      wanted: 'set metadata',
      reason: 'a prefix (key) is needed with the element',
    });
  return { element: parseXml(xml), prefix };
}
