import { ErrorCode, KerbError } from '../base/errors.ts';
import type { Architecture } from './architecture.ts';
import { DECLARED_LIMITS } from './format.ts';

/** What the two Kerbside notes of an image say (broker/unikernel/include/kerbside/abi.h). Sizes in bytes. */
export interface ImageNotes {
  readonly architecture: Architecture;
  readonly abiVersion: number;
  readonly name: string;
  /** Data, TLS, stack and heap together. */
  readonly memory: number;
  readonly maxInput: number;
  readonly maxOutput: number;
}

// ELF64 (System V gABI, chapters 4 and 5): offsets in the file header and in a program header.
const MAGIC = Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // 64 bits, little-endian, version 1
const FILE_HEADER_SIZE = 64;
const PROGRAM_HEADER_SIZE = 56;
const ET_EXEC = 2;
const PT_NOTE = 4;
const MAX_PROGRAM_HEADERS = 64;

/** By e_machine (EM_X86_64, EM_AARCH64), with the target that the ABI note has to name (abi.h, KERB_TARGET_…). */
const MACHINES = new Map<number, { architecture: Architecture; target: number }>([
  [62, { architecture: 'x86_64', target: 1 }],
  [183, { architecture: 'aarch64', target: 2 }],
]);

// abi.h: KERB_NOTE_…, struct kerb_note_abi, struct kerb_note_manifest.
const OWNER = Buffer.from('Kerbside\0');
const NOTE_ABI = 1;
const NOTE_MANIFEST = 2;
const ABI_SIZE = 8;
const MANIFEST_SIZE = 88;
const NAME_OFFSET = 24;
const NAME = /^[a-z0-9-]{1,63}\0+$/;

/**
 * Reads the notes of a unikernel image. The image is hostile: every offset is checked before it is used. Whether the
 * image may be run is for the tender's loader to say; this is only about what it declares.
 * @throws KerbError BadTaskPackage | WrongArchitecture | TaskTooLarge
 */
export function readImageNotes(image: Buffer, where: string): ImageNotes {
  const bad = (what: string) =>
    new KerbError(
      ErrorCode.BadTaskPackage,
      `${where} is not a valid unikernel image: ${what}; build it with \`kerb task build\``,
      {
        where,
      },
    );
  if (image.length < FILE_HEADER_SIZE || !image.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw bad('it does not start as a 64-bit little-endian ELF file does');
  }
  if (image.readUInt16LE(16) !== ET_EXEC) throw bad('it is not a static executable (ET_EXEC)');
  const number = image.readUInt16LE(18);
  const machine = MACHINES.get(number);
  if (machine === undefined) {
    const known = [...MACHINES].map(([known, { architecture }]) => `${architecture} (${known})`).join(' and ');
    throw new KerbError(
      ErrorCode.WrongArchitecture,
      `${where} is for machine ${number}; tasks are built for ${known}`,
      { where, machine: number },
    );
  }

  let abi: Buffer | undefined;
  let manifest: Buffer | undefined;
  for (const note of kerbsideNotes(image, bad)) {
    if (note.type === NOTE_ABI && note.descriptor.length === ABI_SIZE && !abi) abi = note.descriptor;
    else if (note.type === NOTE_MANIFEST && note.descriptor.length === MANIFEST_SIZE && !manifest)
      manifest = note.descriptor;
    else
      throw bad(`its Kerbside note of type ${note.type} (${note.descriptor.length} bytes) is unknown or there twice`);
  }
  if (abi === undefined) throw bad('it has no Kerbside ABI note (its source has no KERB_TASK)');
  if (manifest === undefined) throw bad('it has no Kerbside manifest note (its source has no KERB_TASK)');
  if (abi.readUInt32LE(0) !== machine.target) {
    throw bad(`its ABI note is for target ${abi.readUInt32LE(0)}, its code for ${machine.architecture}`);
  }
  const name = manifest.toString('latin1', NAME_OFFSET);
  if (!NAME.test(name)) throw bad('the name in its manifest note is not 1 to 63 of a-z, 0-9 and -, filled with zeros');
  const size = (key: keyof typeof DECLARED_LIMITS, offset: number): number => {
    const value = manifest.readBigUInt64LE(offset);
    const limit = DECLARED_LIMITS[key];
    if (value <= limit) return Number(value);
    throw new KerbError(
      ErrorCode.TaskTooLarge,
      `${where} declares ${value} bytes of ${key}; no task may have more than ${limit}`,
      { where, limit },
    );
  };
  return {
    architecture: machine.architecture,
    abiVersion: abi.readUInt32LE(4),
    name: name.slice(0, name.indexOf('\0')),
    memory: size('memory', 0),
    maxInput: size('maxInput', 8),
    maxOutput: size('maxOutput', 16),
  };
}

function* kerbsideNotes(
  image: Buffer,
  bad: (what: string) => KerbError,
): Generator<{ type: number; descriptor: Buffer }> {
  const tableOffset = image.readBigUInt64LE(32);
  const entrySize = image.readUInt16LE(54);
  const count = image.readUInt16LE(56);
  if (entrySize !== PROGRAM_HEADER_SIZE || count > MAX_PROGRAM_HEADERS)
    throw bad('its program headers have a strange size or number');
  if (tableOffset + BigInt(count * PROGRAM_HEADER_SIZE) > BigInt(image.length))
    throw bad('its program headers leave the file');
  for (let i = 0; i < count; i++) {
    const header = Number(tableOffset) + i * PROGRAM_HEADER_SIZE;
    if (image.readUInt32LE(header) !== PT_NOTE) continue;
    const offset = image.readBigUInt64LE(header + 8);
    const size = image.readBigUInt64LE(header + 32);
    if (offset + size > BigInt(image.length)) throw bad('a note segment leaves the file');
    const segment = image.subarray(Number(offset), Number(offset + size));
    for (let at = 0; at + 12 <= segment.length; ) {
      const ownerSize = segment.readUInt32LE(at);
      const descriptorSize = segment.readUInt32LE(at + 4);
      const descriptorAt = at + 12 + align4(ownerSize);
      if (descriptorAt + descriptorSize > segment.length) throw bad('a note leaves its segment');
      if (segment.subarray(at + 12, at + 12 + ownerSize).equals(OWNER)) {
        yield {
          type: segment.readUInt32LE(at + 8),
          descriptor: segment.subarray(descriptorAt, descriptorAt + descriptorSize),
        };
      }
      at = descriptorAt + align4(descriptorSize);
    }
  }
}

function align4(size: number): number {
  return Math.ceil(size / 4) * 4;
}
