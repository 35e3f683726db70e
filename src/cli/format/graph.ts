/** Graphs of one line, by blocks of different height. */

const blocks = '▁▂▃▄▅▆▇█';

/** A value at its place in time, from 0 (the oldest) to 1. */
export interface GraphPoint {
  readonly place: number;
  readonly value: number;
}

/** So many columns, each the mean of what falls into it; a blank where nothing does. `top` is the highest block. */
export function graph(points: readonly GraphPoint[], width: number, top: number): string {
  const columns = Array.from({ length: width }, () => ({ sum: 0, count: 0 }));
  for (const { place, value } of points) {
    const column = columns[Math.min(width - 1, Math.max(0, Math.floor(place * width)))];
    if (column === undefined) continue;
    column.sum += value;
    column.count += 1;
  }
  return columns.map(({ sum, count }) => (count === 0 ? ' ' : blockOf(sum / count, top))).join('');
}

function blockOf(value: number, top: number): string {
  const level = top <= 0 ? 0 : Math.round((value / top) * (blocks.length - 1));
  return blocks[Math.min(blocks.length - 1, Math.max(0, level))] ?? ' ';
}
