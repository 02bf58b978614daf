/**
 * What the engine says when it cannot start a container, for the person who wrote the manifest. The engine hands on what the
 * runtime said, behind the names of all programs that it went through ("failed to create task for container: failed to
 * create shim task: OCI runtime create failed: runc create failed: …: unknown").
 */

/** Names of programs and places in them, which say nothing about the fault. Each with its colon, at the beginning. */
const prefixes = [
  /^error response from daemon: /i,
  /^(?:cannot|failed to|could not|unable to) (?:start|create)(?: the)? (?:container|task|shim task|shim)(?: for container)?(?: \S+)?: /i,
  /^\(HTTP code \d+\) [^-]*- /i,
  /^(?:OCI runtime|runc|crun|containerd)(?: create| start| exec| run)? (?:failed|did not terminate successfully)(?:: exit status \d+)?: /i,
  /^unable to start container process: /i,
  /^error during container init: /i,
  /^(?:container|process|standard_init|rootfs|init)_linux\.go:\d+: /i,
  /^(?:starting container process|container init|exec user process|running exec setns process for init|rootfs_linux) caused(?: "|: )/i,
  /^failed to start: /i,
];

const notInImage = (program: string) =>
  `its program "${program}" is not in the image; correct \`command\` or \`entrypoint\``;

/** From what the runtime says to what is wrong in the manifest or the image. */
const meanings: readonly (readonly [RegExp, (...found: string[]) => string])[] = [
  [/exec:? "?([^":]+)"?: (?:exec: )?executable file not found/i, notInImage],
  [/exec: "([^"]+)": stat [^:]+: no such file or directory/i, notInImage],
  [
    /exec:? "?([^":]+)"?: (?:stat [^:]+: )?permission denied/i,
    (program) => `its program "${program}" may not be executed (permission denied); make it executable in the image`,
  ],
  [
    /exec:? "?([^":]+)"?: is a directory/i,
    (program) => `its program "${program}" is a folder; correct \`command\` or \`entrypoint\``,
  ],
  [
    /exec (\S+): no such file or directory/i,
    (program) => `its program "${program}", or the interpreter or loader that it names, is not in the image`,
  ],
  [
    /exec format error/i,
    () =>
      'its program is not one that this machine can execute (exec format error): it is for another architecture, or a script without `#!`',
  ],
  [/unable to find user ([^:]+): no matching entries/i, (user) => `the image has no user "${user}"; correct \`user\``],
  [
    /unable to find group ([^:]+): no matching entries/i,
    (group) => `the image has no group "${group}"; correct \`user\``,
  ],
  [
    /chdir to cwd \("([^"]+)"\)[^:]*: (?:no such file|not a directory)/i,
    (folder) => `the folder "${folder}" of \`working_dir\` is not in the image`,
  ],
  [
    /chdir to cwd \("([^"]+)"\)[^:]*: permission denied/i,
    (folder) => `its user may not enter the folder "${folder}" of \`working_dir\``,
  ],
  [/no command specified/i, () => 'the image names no program to run; write `command` or `entrypoint`'],
  [
    /setting rlimit[^:]*: .*(?:operation not permitted|invalid argument)/i,
    () => 'the engine may not set its `ulimits`; choose lower ones',
  ],
  [
    /requested CPUs are not available - requested ([^,]+), available: (\S+)/i,
    (wanted, there) => `this machine has no CPUs ${wanted}; it has ${there.replace(/\.$/, '')}: correct \`cpuset\``,
  ],
  [
    /range of CPUs is from ([\d.]+) to ([\d.]+)/i,
    (_least, most) => `this machine has ${Number(most)} CPUs, and \`cpus\` may not be above that`,
  ],
  [
    /minimum memory limit allowed is (\S+)/i,
    (least) => `its \`mem_limit\` is below the smallest that the engine takes, ${least}`,
  ],
  [
    /mounting "tmpfs" to rootfs at "([^"]+)".*read-only file system/i,
    (folder) => `the folder "${folder}" of \`tmpfs\` has to be in the image, which is read-only`,
  ],
];

/** One line without the chain of programs that said it before. */
export function plainFault(message: string): string {
  const line = message.replaceAll(/\s+/g, ' ').trim();
  for (const [pattern, meaning] of meanings) {
    const match = pattern.exec(line);
    if (match !== null) return meaning(...match.slice(1).map((text) => text.trim()));
  }
  return withoutPrefixes(line).replace(/(?:"?: unknown)+$/i, '');
}

function withoutPrefixes(line: string): string {
  for (const prefix of prefixes) {
    const rest = line.replace(prefix, '');
    // Something has to be left to say.
    if (rest !== line && rest !== '') return withoutPrefixes(rest);
  }
  return line;
}
