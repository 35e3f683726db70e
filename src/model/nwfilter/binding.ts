/** libvirt's XML of a filter binding: which filter, with which parameters, is on a guest's tap. */
import { formatXml, xmlElement } from '../../base/xml/tree.ts';
import type { FilterParameter } from './filter.ts';

export interface FilterBinding {
  /** The domain. */
  readonly owner: { readonly uuid: string; readonly name: string };
  /** The tap. */
  readonly device: string;
  /** The interface of the host that a macvtap sits on. */
  readonly link?: string;
  readonly mac: string;
  readonly filter: string;
  readonly parameters: readonly FilterParameter[];
}

/** Prints a binding as libvirt does. */
export function formatFilterBinding(binding: FilterBinding): string {
  const { owner, device, link, mac, filter, parameters } = binding;
  const text = (name: string, value: string) => xmlElement(name, [], [value]);
  return formatXml(
    xmlElement(
      'filterbinding',
      [],
      [
        xmlElement('owner', [], [text('name', owner.name), text('uuid', owner.uuid)]),
        xmlElement('portdev', [['name', device]]),
        ...(link === undefined ? [] : [xmlElement('linkdev', [['name', link]])]),
        xmlElement('mac', [['address', mac]]),
        xmlElement(
          'filterref',
          [['filter', filter]],
          parameters.map(({ name, value }) =>
            xmlElement('parameter', [
              ['name', name],
              ['value', value],
            ]),
          ),
        ),
      ],
    ),
  );
}
