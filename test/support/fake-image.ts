/** For tests: the outside of a unikernel image, with notes and without code. */
export interface FakeImage {
  readonly name?: string;
  readonly memory?: number;
  readonly maxInput?: number;
  readonly maxOutput?: number;
  readonly abiVersion?: number;
  /** e_machine and the target of the ABI note; x86_64 by default. */
  readonly machine?: number;
  readonly target?: number;
  /** Appended to the file, so that images with the same notes differ. */
  readonly filler?: string;
}

export function fakeImage(options: FakeImage = {}): Buffer {
  const {
    name = 'echo',
    memory = 1 << 20,
    maxInput = 65_536,
    maxOutput = 65_536,
    abiVersion = 1,
    machine = 62,
    target = 1,
    filler = '',
  } = options;
  const abi = Buffer.alloc(8);
  abi.writeUInt32LE(target, 0);
  abi.writeUInt32LE(abiVersion, 4);
  const manifest = Buffer.alloc(88);
  manifest.writeBigUInt64LE(BigInt(memory), 0);
  manifest.writeBigUInt64LE(BigInt(maxInput), 8);
  manifest.writeBigUInt64LE(BigInt(maxOutput), 16);
  manifest.write(name, 24, 'latin1');
  const notes = Buffer.concat([
    elfNote('Other', 9, Buffer.from('x')),
    elfNote('Kerbside', 1, abi),
    elfNote('Kerbside', 2, manifest),
  ]);
  return elfFile(notes, filler, machine);
}

export function elfNote(owner: string, type: number, descriptor: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(owner.length + 1, 0);
  head.writeUInt32LE(descriptor.length, 4);
  head.writeUInt32LE(type, 8);
  return Buffer.concat([head, padded(Buffer.from(`${owner}\0`)), padded(descriptor)]);
}

/** An ELF64 file with one PT_NOTE segment. */
export function elfFile(notes: Buffer, filler = '', machine = 62): Buffer {
  const header = Buffer.alloc(64 + 56);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(2, 16); // ET_EXEC
  header.writeUInt16LE(machine, 18);
  header.writeBigUInt64LE(64n, 32); // program headers follow the file header
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(1, 56);
  header.writeUInt32LE(4, 64); // PT_NOTE
  header.writeBigUInt64LE(120n, 64 + 8);
  header.writeBigUInt64LE(BigInt(notes.length), 64 + 32);
  return Buffer.concat([header, notes, Buffer.from(filler)]);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
