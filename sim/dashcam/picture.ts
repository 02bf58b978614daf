/** A picture being drawn: 8-bit planes of luma and, at half size, of both chroma; full range, one buffer (I420). */
export class PlanarPicture {
  readonly width: number;
  readonly height: number;
  readonly chromaWidth: number;
  readonly data: Buffer;
  readonly y: Buffer;
  readonly cb: Buffer;
  readonly cr: Buffer;

  constructor(width: number, height: number) {
    this.width = width;
    this.height = height;
    this.chromaWidth = Math.ceil(width / 2);
    const luma = width * height;
    const chroma = this.chromaWidth * Math.ceil(height / 2);
    this.data = Buffer.allocUnsafeSlow(luma + 2 * chroma);
    this.y = this.data.subarray(0, luma);
    this.cb = this.data.subarray(luma, luma + chroma);
    this.cr = this.data.subarray(luma + chroma);
  }

  /** Mixes a rectangle with a colour, `strength` 0..1; what lies outside the picture is cut off. */
  blend(left: number, top: number, right: number, bottom: number, colour: Colour, strength: number): void {
    const [x0, x1] = [Math.max(0, Math.round(left)), Math.min(this.width, Math.round(right))];
    const [y0, y1] = [Math.max(0, Math.round(top)), Math.min(this.height, Math.round(bottom))];
    if (x0 >= x1) return;
    const keep = 1 - strength;
    for (let y = y0; y < y1; y++) {
      const row = y * this.width;
      for (let at = row + x0; at < row + x1; at++) this.y[at] = this.y[at]! * keep + colour.y * strength;
      if ((y & 1) === 0) this.#tint(y >> 1, x0, x1, colour, strength);
    }
  }

  /** Sets the chroma of columns x0..x1 of one chroma row. */
  #tint(chromaRow: number, x0: number, x1: number, colour: Colour, strength: number): void {
    const keep = 1 - strength;
    const row = chromaRow * this.chromaWidth;
    for (let at = row + (x0 >> 1); at < row + ((x1 + 1) >> 1); at++) {
      this.cb[at] = this.cb[at]! * keep + colour.cb * strength;
      this.cr[at] = this.cr[at]! * keep + colour.cr * strength;
    }
  }
}

/** Luma 0..255 and chroma around 128. */
export interface Colour {
  readonly y: number;
  readonly cb: number;
  readonly cr: number;
}
