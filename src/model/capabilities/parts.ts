/** Small pieces that both capability documents are made of. */
import { type XmlElement, type XmlNode, xmlElement } from '../../base/xml/tree.ts';

/** An attribute's value as facts have it; undefined leaves the attribute out, true and false are `yes` and `no`. */
export type AttributeValue = string | number | boolean | undefined;

export function element(
  name: string,
  attributes: Readonly<Record<string, AttributeValue>> = {},
  children: readonly (XmlNode | undefined)[] = [],
): XmlElement {
  const attrs: [string, string][] = [];
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined) continue;
    attrs.push([key, typeof value === 'boolean' ? yesNo(value) : String(value)]);
  }
  return xmlElement(
    name,
    attrs,
    children.filter((child) => child !== undefined),
  );
}

export function textElement(name: string, text: string | number): XmlElement {
  return element(name, {}, [String(text)]);
}

export function yesNo(value: boolean): 'yes' | 'no' {
  return value ? 'yes' : 'no';
}

/** The element, or nothing when there is nothing to put in it. */
export function unlessEmpty(name: string, children: readonly XmlElement[]): XmlElement | undefined {
  return children.length === 0 ? undefined : element(name, {}, children);
}

/** Numbers as in `0-3,8`, libvirt's and the kernel's way to write CPU sets. */
export function formatCpuSet(cpus: readonly number[]): string {
  const sorted = [...new Set(cpus)].sort((a, b) => a - b);
  const ranges: [number, number][] = [];
  for (const cpu of sorted) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === cpu - 1) last[1] = cpu;
    else ranges.push([cpu, cpu]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}
