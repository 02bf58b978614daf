/** Where the sources of daemons are, from the top of the installation. */
export const SOURCE_FOLDERS = ['broker', 'cli', 'obu', 'shared', 'sim'] as const;

const ALL = ['can-bus', 'sim-can', 'sim-dashcam', 'broker', 'obu'];

/** The daemons that run what is in a folder, by its path; the longest that fits counts. */
const DAEMONS: Readonly<Record<string, readonly string[]>> = {
  broker: ['broker'],
  'cli/broker': ['broker'],
  'cli/can': ['can-bus'],
  'cli/kerb.ts': ALL,
  'cli/run.ts': ALL,
  'cli/lib': ALL,
  'cli/obu': ['obu'],
  'cli/program.ts': ALL,
  'cli/sim/can-command.ts': ['sim-can'],
  'cli/sim/dashcam-command.ts': ['sim-dashcam'],
  obu: ['obu'],
  shared: ALL,
  // Only workloads and tests use it.
  'shared/app-sdk': [],
  'shared/can': ['can-bus', 'sim-can', 'sim-dashcam', 'obu'],
  'shared/dbc': ['sim-can', 'sim-dashcam', 'obu'],
  'shared/task-package': ['broker'],
  'shared/v2e-client': [],
  'shared/vss': ['obu'],
  'shared/yaml': ['broker', 'obu'],
  'sim/car': ['sim-can'],
  // What is on the bus: who sends it, and who reads it.
  'sim/car/car.dbc': ['sim-can', 'sim-dashcam', 'obu'],
  'sim/car/car.vss.yaml': ['obu'],
  'sim/dashcam': ['sim-dashcam'],
};

/**
 * Which daemons of the main job run what is in a file, by the names that `Drive` gives them. Empty for a file that none
 * of them reads: a test, a text, the supervisor itself.
 * @param path from the top of the installation, with slashes
 */
export function daemonsOf(path: string): readonly string[] {
  const isSource = /\.(ts|js|json|dbc|yaml)$/.test(path) && !/\.test\.ts$/.test(path);
  if (!isSource) return [];
  for (let folder = path; folder !== ''; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/')))) {
    if (Object.hasOwn(DAEMONS, folder)) return DAEMONS[folder]!;
  }
  return [];
}

/** Whether it is a source of what supervises the daemons, which goes on as it is. */
export function isOfSupervisor(path: string): boolean {
  return /^(sim\/demo\/|cli\/sim\/drive-command\.ts$)/.test(path) && !path.endsWith('.test.ts');
}
