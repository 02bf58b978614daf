import type { WriteStream } from 'node:tty';

/**
 * Draws a list of lines in place on the terminal's alternate screen, so that what the person had before comes back
 * afterwards. Only lines that changed are written, which keeps a slow serial console quiet.
 */
export class Terminal {
  readonly #out: WriteStream;
  #shown: string[] = [];
  #size = '';
  #open = false;

  constructor(out: WriteStream) {
    this.#out = out;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  get columns(): number {
    return this.#out.columns || 80;
  }

  open(): void {
    this.#open = true;
    this.#out.write('\x1b[?1049h\x1b[?25l\x1b[2J');
  }

  draw(lines: readonly string[]): void {
    if (!this.#open) return;
    const size = `${this.#out.columns}x${this.#out.rows}`;
    const cut = lines.slice(0, this.#out.rows || 24);
    let text = '';
    if (size !== this.#size) {
      text += '\x1b[2J';
      this.#shown = [];
      this.#size = size;
    }
    cut.forEach((line, i) => {
      if (line !== this.#shown[i]) text += `\x1b[${i + 1};1H${line}\x1b[K`;
    });
    if (cut.length < this.#shown.length) text += `\x1b[${cut.length + 1};1H\x1b[J`;
    this.#shown = cut;
    if (text) this.#out.write(text);
  }

  /** Gives the terminal back. Safe to call twice. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#out.write('\x1b[?25h\x1b[?1049l');
  }
}
