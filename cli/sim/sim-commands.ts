import type { Command } from 'commander';
import { registerSimCanCommand } from './can-command.ts';
import { registerSimDashcamCommand } from './dashcam-command.ts';
import { registerSimDriveCommand } from './drive-command.ts';

/** `kerb sim …`: what stands in for the car and the road. */
export function registerSimCommands(program: Command): void {
  const sim = program.command('sim').description('the simulator: a CAN bus with ECUs, a dashcam, the main job');
  registerSimCanCommand(sim);
  registerSimDashcamCommand(sim);
  registerSimDriveCommand(sim);
}
