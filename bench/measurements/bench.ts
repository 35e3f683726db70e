/** What every measurement is handed, and what it gives. */
import type { BenchDaemon, Workplace } from '../daemon.ts';
import type { Measurement } from '../result.ts';

export interface Bench {
  readonly place: Workplace;
  /** A daemon that runs during the whole benchmark. */
  readonly daemon: BenchDaemon;
  /** Disk images for `twentyDeviceXml`. */
  readonly images: string;
  /** How many samples: few with --quick. */
  readonly rounds: number;
  readonly isQuick: boolean;
  /** A command that runs the one it is given with a libvirtd of its own; libvirtd is not measured without it. */
  readonly peer?: string;
}

/** One group of rows. */
export type Measure = (bench: Bench) => Promise<readonly Measurement[]>;
