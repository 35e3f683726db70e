/** The document that says which kinds of pools work on this host (libvirt's storagepoolcaps.rng). */
import { formatXml, type XmlElement, xmlElement } from '../../../base/xml/tree.ts';
import type { VolumeFormat } from '../volume/volume.ts';
import type { PoolType } from './pool.ts';

/** One kind of pool. */
export interface PoolTypeCapabilities {
  readonly type: PoolType;
  readonly isSupported: boolean;
  /** Formats of the source, the first being the one that is meant when none is told. */
  readonly sourceFormats: readonly string[];
  readonly volumeFormats: readonly VolumeFormat[];
}

export function formatPoolCapabilities(types: readonly PoolTypeCapabilities[]): string {
  return formatXml(xmlElement('storagepoolCapabilities', [], types.map(poolElement)));
}

function poolElement({ type, isSupported, sourceFormats, volumeFormats }: PoolTypeCapabilities): XmlElement {
  const attributes: [string, string][] = [
    ['type', type],
    ['supported', isSupported ? 'yes' : 'no'],
  ];
  const [defaultSource] = sourceFormats;
  const poolOptions =
    defaultSource === undefined
      ? []
      : [
          xmlElement(
            'poolOptions',
            [],
            [defaultFormat(defaultSource), enumeration('sourceFormatType', sourceFormats)],
          ),
        ];
  const [defaultVolume] = volumeFormats;
  const volOptions =
    defaultVolume === undefined
      ? []
      : [
          xmlElement(
            'volOptions',
            [],
            [defaultFormat(defaultVolume), enumeration('targetFormatType', volumeFormats)],
          ),
        ];
  return xmlElement('pool', attributes, isSupported ? [...poolOptions, ...volOptions] : []);
}

function defaultFormat(format: string): XmlElement {
  return xmlElement('defaultFormat', [['type', format]]);
}

function enumeration(name: string, values: readonly string[]): XmlElement {
  return xmlElement(
    'enum',
    [['name', name]],
    values.map((value) => xmlElement('value', [], [value])),
  );
}
