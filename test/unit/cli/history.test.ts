/** Graphs of one line. */
import { describe, expect, it } from 'vitest';
import { historyText } from '../../../src/cli/commands/domain-history.ts';
import { graph } from '../../../src/cli/format/graph.ts';

describe('a graph', () => {
  it('has a block for each column, by its mean, and a blank where nothing is', () => {
    const points = [
      { place: 0, value: 0 },
      { place: 0.3, value: 50 },
      { place: 0.31, value: 100 },
      { place: 0.99, value: 100 },
    ];
    expect(graph(points, 4, 100)).toBe('▁▆ █');
    expect(graph([{ place: 0, value: 0 }], 1, 0)).toBe('▁');
  });
});

describe('a history as text', () => {
  const place = { name: 'web', span: 'hour', width: 20 } as const;
  const at = new Date(Date.now() - 60_000).toISOString();
  const from = new Date(Date.now() - 3_590_000).toISOString();
  const nothing = {
    ...{ cpuPercent: null, residentBytes: null, balloonBytes: null, diskReadBytesPerSecond: null },
    ...{ diskWriteBytesPerSecond: null, diskRequestsPerSecond: null, receivedBytesPerSecond: null },
    sentBytesPerSecond: null,
  };

  it('shows what was told, with mean and highest value', () => {
    const points = [{ at, ...nothing, cpuPercent: 25 }];
    const text = historyText({ from, stepSeconds: 10, enabled: true, points }, place);
    expect(text).toMatch(
      /^The last hour of 'web', oldest at the left:\nCPU {7}.*█ mean 25 % {7} max 25 %\n$/,
    );
  });

  it('says why there is nothing', () => {
    const empty = { from, stepSeconds: 10, points: [] };
    expect(historyText({ ...empty, enabled: true }, place)).toContain('Nothing is known');
    expect(historyText({ ...empty, enabled: false }, place)).toContain('[statistics]');
  });
});
