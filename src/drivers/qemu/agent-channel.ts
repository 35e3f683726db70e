/** The guest agent as one guest has it: whether there is a channel for it, and whether the guest holds it open. */
import { VirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { Agent, agentChannelName } from './agent.ts';
import { notAsked } from './agent-line.ts';
import { findAgent } from './find-device.ts';

interface Channel {
  /** Name of the domain, for errors. */
  readonly domain: () => string;
  /** Where the socket of a channel is, by its alias. */
  readonly socket: (alias: string) => string | undefined;
  readonly isOpen: (alias: string) => boolean;
  /** Whether its virtual CPUs run: nothing in a guest that stands still answers. */
  readonly isRunning: () => boolean;
}

/** Leads to the agent of one guest. */
export class AgentChannel {
  /** Of the channel; undefined where the domain has none. */
  readonly alias: string | undefined;
  private readonly channel: Channel;
  private made: Agent | undefined;

  constructor(definition: DomainDef, channel: Channel) {
    this.alias = findAgent(definition);
    this.channel = channel;
  }

  /** The agent, whether or not it listens. @throws VirtError agent.missing, domain.state */
  agent(): Agent {
    const path = this.alias === undefined ? undefined : this.channel.socket(this.alias);
    if (path === undefined)
      throw new VirtError('agent.missing', {
        wanted: `ask the guest agent of '${this.channel.domain()}'`,
        reason: `the domain has no channel named ${agentChannelName}`,
        hint: 'add such a channel of type unix, and install qemu-guest-agent in the guest',
      });
    if (!this.channel.isRunning())
      throw new VirtError('domain.state', {
        wanted: `ask the guest agent of '${this.channel.domain()}'`,
        reason: 'domain is not running: its virtual CPUs stand still',
        hint: `let it go on with 'vireo resume ${this.channel.domain()}'`,
        details: notAsked,
      });
    this.made ??= new Agent(path);
    return this.made;
  }

  /**
   * The agent, when the guest holds its channel open: to wait for one that is not there is to wait in vain.
   * @throws VirtError agent.missing, agent.unresponsive, domain.state
   */
  openAgent(): Agent {
    const agent = this.agent();
    if (this.alias !== undefined && this.channel.isOpen(this.alias)) return agent;
    throw new VirtError('agent.unresponsive', {
      wanted: `ask the guest agent of '${this.channel.domain()}'`,
      reason: 'the guest has not opened its channel',
      hint: 'see whether qemu-guest-agent runs inside the guest',
      details: notAsked,
    });
  }
}
