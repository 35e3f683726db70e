/** What every command is handed: the world around it, its output, and a way to the daemon. */
import { resolve } from 'node:path';
import type { VireoClient } from '../api/client.ts';
import { connectTo } from './connect.ts';
import { resolveTarget, type Target } from './connection.ts';
import type { Input } from './console/terminal.ts';
import { Output, type Sink } from './format/output.ts';

/** The process around a command; tests bring their own. */
export interface World {
  readonly stdin: Input;
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly uid: number;
}

/** The options that every command understands. */
export interface GlobalOptions {
  readonly connect?: string;
  readonly root?: string;
  readonly json?: boolean;
  readonly color?: boolean;
}

/** One run of the command line. */
export class Cli {
  readonly world: World;
  /** Set by a command that failed in part, or that tells something by its exit status. */
  exitCode = 0;
  #options: GlobalOptions = {};
  #output: Output;

  constructor(world: World) {
    this.world = world;
    this.#output = this.#makeOutput();
  }

  /** Takes over the global options, when they are known. */
  configure(options: GlobalOptions): void {
    this.#options = options;
    this.#output = this.#makeOutput();
  }

  get out(): Output {
    return this.#output;
  }

  get target(): Target {
    const { connect, root } = this.#options;
    const { env, uid, cwd } = this.world;
    return resolveTarget({
      env,
      uid,
      uri: connect,
      root: root === undefined ? undefined : resolve(cwd, root),
    });
  }

  /** An absolute path of something the user named from their own directory. */
  absolute(path: string): string {
    return resolve(this.world.cwd, path);
  }

  /** Connects; a session daemon is started when none runs. The caller closes the client. */
  connect(): Promise<VireoClient> {
    return connectTo(this.target, {
      env: this.world.env,
      mayStart: true,
      onStart: () => this.out.note('Starting the session daemon ...'),
    });
  }

  /** Connects, does `work`, and closes the connection however it ends. */
  async withClient<T>(work: (client: VireoClient) => Promise<T>): Promise<T> {
    const client = await this.connect();
    try {
      return await work(client);
    } finally {
      await client.close();
    }
  }

  #makeOutput(): Output {
    const { stdout, stderr, env } = this.world;
    const { json = false, color = true } = this.#options;
    return new Output({ stdout, stderr, env, isJson: json, allowColour: color });
  }
}
