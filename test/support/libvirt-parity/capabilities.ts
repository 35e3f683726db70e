/** Takes capabilities documents apart into what clients look at, as sets of words that can be compared. */
import { parseXml } from '../../../src/base/xml/parse.ts';
import { childElements, childOf, textOf, type XmlElement } from '../../../src/base/xml/tree.ts';

/** `x86_64 pc-i440fx-7.2 maxCpus=255`, for each guest, machine and alias of a capabilities document. */
export function machineWords(xml: string): string[] {
  const words: string[] = [];
  for (const guest of childElements(parseXml(xml), 'guest')) {
    const arch = childOf(guest, 'arch');
    for (const machine of arch === undefined ? [] : childElements(arch, 'machine')) {
      const attrs = [...machine.attrs].map(([key, value]) => `${key}=${value}`);
      words.push([arch?.attrs.get('name'), textOf(machine), ...attrs.toSorted()].join(' '));
    }
  }
  return words.toSorted();
}

/** `devices/disk/bus sata`, for each value of each enumeration of a domain capabilities document. */
export function enumWords(xml: string): string[] {
  const words: string[] = [];
  const walk = (element: XmlElement, path: string): void => {
    for (const child of childElements(element)) {
      const name = child.attrs.get('name');
      if (child.name === 'enum')
        words.push(...childElements(child, 'value').map((value) => `${path}/${name} ${textOf(value)}`));
      else if (child.name === 'value') words.push(`${path} ${textOf(child)}`);
      else
        walk(
          child,
          path === '' ? child.name : `${path}/${child.name}${name === undefined ? '' : `[${name}]`}`,
        );
    }
    const supported = element.attrs.get('supported');
    if (supported !== undefined) words.push(`${path} supported=${supported}`);
  };
  walk(parseXml(xml), '');
  return words.filter(
    (word) => !word.startsWith('cpu/mode[custom]') && !word.startsWith('cpu/mode[host-model]'),
  );
}

/** Words that only one side has. */
export function wordDifferences(libvirt: readonly string[], vireo: readonly string[]): string[] {
  return [
    ...libvirt.filter((word) => !vireo.includes(word)).map((word) => `libvirt only: ${word}`),
    ...vireo.filter((word) => !libvirt.includes(word)).map((word) => `vireo only: ${word}`),
  ];
}
