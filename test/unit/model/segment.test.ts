/** Segments: the same name of the same user is the same group, and only groups of segments stay on the host. */
import { describe, expect, it } from 'vitest';
import { isSegmentGroup, segmentAddress } from '../../../src/model/domain/segment.ts';

describe('a segment', () => {
  it('has one group and port by name and user', () => {
    expect(segmentAddress('lab', 1000)).toEqual(segmentAddress('lab', 1000));
    expect(segmentAddress('lab', 1000)).not.toEqual(segmentAddress('lab', 1001));
    expect(segmentAddress('lab', 1000)).not.toEqual(segmentAddress('lab2', 1000));
  });

  it('keeps within its groups and below the ports of programs', () => {
    for (let index = 0; index < 2000; index++) {
      const { address, port } = segmentAddress(`s${index}`, index);
      expect(address).toMatch(/^239\.255\.118\.([1-9]\d?|1\d\d|2[0-4]\d|25[0-4])$/);
      expect(port).toBeGreaterThanOrEqual(10_000);
      expect(port).toBeLessThan(30_000);
    }
    expect(isSegmentGroup('239.255.118.9')).toBe(true);
    expect(isSegmentGroup('239.255.119.9')).toBe(false);
    expect(isSegmentGroup('230.0.0.1')).toBe(false);
  });
});
