/** A grey picture: width * height bytes, row by row from the top left. */
export interface GreyPicture {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
}

/** Input and output of the task `dashcam-filter`: width and height as 32-bit little-endian numbers, then the pixels. */
export function toTaskInput({ width, height, pixels }: GreyPicture): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(width, 0);
  header.writeUInt32LE(height, 4);
  return Buffer.concat([header, pixels]);
}

/** The reverse of toTaskInput. @throws Error when the bytes are no such picture */
export function fromTaskOutput(bytes: Uint8Array): GreyPicture {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.length < 8) throw new Error(`an output of ${view.length} bytes has no header`);
  const [width, height] = [view.readUInt32LE(0), view.readUInt32LE(4)];
  if (view.length !== 8 + width * height) {
    throw new Error(`an output of ${view.length} bytes is not a picture of ${width} x ${height}`);
  }
  return { width, height, pixels: view.subarray(8) };
}

/** The picture as a file that any viewer opens (PGM, binary). */
export function toPgm({ width, height, pixels }: GreyPicture): Buffer {
  return Buffer.concat([Buffer.from(`P5\n${width} ${height}\n255\n`, 'latin1'), pixels]);
}
