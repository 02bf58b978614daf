// aqi-merge: the air quality index of a place, from what `aqi` says of its sensors.
//
// In:  text, lines as `aqi` gives them: "POLLUTANT CONCENTRATION INDEX". Several sensors may measure the same.
// Out: one line "INDEX POLLUTANT CATEGORY": the highest index of all, the pollutant that has it (the first one, when
//      several have), and its category (EPA-454/B-24-002, table 1). Then one line "POLLUTANT INDEX" for each pollutant,
//      highest index first. Status 1: no lines; 2: a line that is none of `aqi`.
//
// The highest concentration within an area counts, so the highest index of each pollutant does. Merging what is merged
// in parts gives the same as merging it all: keep the lines that have the highest indices.

const POLLUTANTS = ['PM2.5', 'PM10', 'O3', 'CO', 'SO2', 'NO2'];

function category(index: i32): string {
  if (index <= 50) return 'Good';
  if (index <= 100) return 'Moderate';
  if (index <= 150) return 'Unhealthy for Sensitive Groups';
  if (index <= 200) return 'Unhealthy';
  if (index <= 300) return 'Very Unhealthy';
  return 'Hazardous';
}

function isNumber(text: string, dots: i32): bool {
  let digits = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 48 && code <= 57) digits++;
    else if (code != 46 || digits == 0 || --dots < 0) return false;
  }
  return digits > 0 && digits <= 9 && !text.endsWith('.');
}

class Entry {
  constructor(
    readonly pollutant: string,
    public index: i32,
  ) {}
}

function find(entries: Entry[], pollutant: string): i32 {
  for (let i = 0; i < entries.length; i++) if (entries[i].pollutant == pollutant) return i;
  return -1;
}

function wrongLine(at: i32): string {
  return `line ${at + 1} is not "POLLUTANT CONCENTRATION INDEX", as aqi gives it`;
}

export function task(input: StaticArray<u8>): StaticArray<u8> {
  const text = String.UTF8.decodeUnsafe(changetype<usize>(input), input.length).trimEnd();
  if (text.length == 0) refuse(1, 'there are no lines');
  const lines = text.split('\n');
  const entries: Entry[] = [];
  for (let i = 0; i < lines.length; i++) {
    const words = lines[i].trim().split(' ');
    if (words.length != 3 || !POLLUTANTS.includes(words[0])) refuse(2, wrongLine(i));
    if (!isNumber(words[1], 1) || !isNumber(words[2], 0)) refuse(2, wrongLine(i));
    const index = i32.parse(words[2]);
    const known = find(entries, words[0]);
    if (known < 0) entries.push(new Entry(words[0], index));
    else entries[known].index = max(entries[known].index, index);
  }
  entries.sort((a, b) => b.index - a.index);
  let answer = `${entries[0].index} ${entries[0].pollutant} ${category(entries[0].index)}\n`;
  for (let i = 0; i < entries.length; i++) answer += `${entries[i].pollutant} ${entries[i].index}\n`;
  return bytesOf(answer);
}

function bytesOf(text: string): StaticArray<u8> {
  const bytes = new StaticArray<u8>(String.UTF8.byteLength(text));
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, changetype<usize>(bytes));
  return bytes;
}
