/** When the agent of a guest can be asked at all. */
import { expect, it } from 'vitest';
import { AgentChannel } from '../../../src/drivers/qemu/agent-channel.ts';
import { assignAliases } from '../../../src/model/domain/aliases.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';

const definition = assignAliases(
  parseDomain(
    `<domain type='qemu'><name>d</name><memory>65536</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
      <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></domain>`,
    { mode: 'strict' },
  ).definition,
);

function channel(isOpen: boolean, isRunning: boolean): AgentChannel {
  return new AgentChannel(definition, {
    ...{ domain: () => 'd', socket: () => '/run/agent' },
    ...{ isOpen: () => isOpen, isRunning: () => isRunning },
  });
}

it('is asked where it holds its channel open', () => {
  const open = channel(true, true);
  expect(open.openAgent()).toBe(open.agent());
});

it('is not waited for where the guest has not opened its channel, or stands still', () => {
  expect(() => channel(false, true).openAgent()).toThrow(
    expect.objectContaining({ code: 'agent.unresponsive', details: { isAsked: false } }),
  );
  for (const ask of ['agent', 'openAgent'] as const)
    expect(() => channel(true, false)[ask]()).toThrow(
      expect.objectContaining({
        code: 'domain.state',
        reason: expect.stringMatching(/^domain is not running/),
        hint: "let it go on with 'vireo resume d'",
        details: { isAsked: false },
      }),
    );
});
