// aqi: the US EPA's air quality index of one sensor, from its hourly readings.
//
// In:  text. The first line names what is measured: PM2.5 or PM10 (ug/m3), O3 or CO (ppm), SO2 or NO2 (ppb). Each line
//      after it is the mean of one hour, 24 at most, oldest first: a decimal number, or "-" where there is none.
// Out: one line "POLLUTANT CONCENTRATION INDEX": the truncated concentration that gives the index. `aqi-merge` takes it.
//
// EPA-454/B-24-002 (May 2024), Technical Assistance Document for the Reporting of Daily Air Quality, and 40 CFR 58
// appendix G: concentrations are truncated, not rounded; the index is rounded. What counts:
//   PM2.5, PM10  mean of 24 hours            O3   the larger index of the best 8-hour mean and the highest hour
//   CO           highest 8-hour mean         NO2  highest hour
//   SO2          highest hour; from 305 ppb on the mean of 24 hours, and 200 when that one is below 305
// An index above 500 is what the last line of the table gives when it is carried on. Means need three quarters of their
// hours. Status 1: no such pollutant; 2: no such number; 3: more than 24 hours; 4: too few readings.
//
// All arithmetic is in whole numbers (millionths of the unit), so that 0.070 ppm is 0.070 ppm and not a little less.

const MILLION: i64 = 1_000_000;
const HOURS = 24;
const MISSING: i64 = -1;
const NO_NUMBER = 'a line is neither "-" nor a decimal number such as 0.065';

/** From a truncated concentration (in steps of the table's last decimal) to an index: both ends of each line. */
class Table {
  constructor(
    readonly decimals: i32,
    readonly low: StaticArray<i32>,
    readonly high: StaticArray<i32>,
    /** Index of the first line in INDEX_LOW and INDEX_HIGH. */
    readonly first: i32,
  ) {}
}

const INDEX_LOW: StaticArray<i32> = [0, 51, 101, 151, 201, 301];
const INDEX_HIGH: StaticArray<i32> = [50, 100, 150, 200, 300, 500];

const PM25 = new Table(1, [0, 91, 355, 555, 1255, 2255], [90, 354, 554, 1254, 2254, 3254], 0);
const PM10 = new Table(0, [0, 55, 155, 255, 355, 425], [54, 154, 254, 354, 424, 604], 0);
const O3_8H = new Table(3, [0, 55, 71, 86, 106], [54, 70, 85, 105, 200], 0);
const O3_1H = new Table(3, [125, 165, 205, 405], [164, 204, 404, 604], 2);
const CO = new Table(1, [0, 45, 95, 125, 155, 305], [44, 94, 124, 154, 304, 504], 0);
const SO2_1H = new Table(0, [0, 36, 76, 186], [35, 75, 185, 304], 0);
const SO2_24H = new Table(0, [305, 605], [604, 1004], 4);
const NO2 = new Table(0, [0, 54, 101, 361, 650, 1250], [53, 100, 360, 649, 1249, 2049], 0);

function power(exponent: i32): i64 {
  let result: i64 = 1;
  for (let i = 0; i < exponent; i++) result *= 10;
  return result;
}

/** sum / hours, cut off after the decimals of the table. */
function truncated(sum: i64, hours: i32, decimals: i32): i64 {
  return (sum * power(decimals)) / (MILLION * hours);
}

/** Equation 1 of the document, rounded to the nearest whole number; -1 below the table. */
function indexOf(table: Table, value: i64): i64 {
  if (value < table.low[0]) return -1;
  let line = table.low.length - 1;
  while (value < table.low[line]) line--;
  const low = INDEX_LOW[table.first + line];
  const span: i64 = INDEX_HIGH[table.first + line] - low;
  const width: i64 = table.high[line] - table.low[line];
  return low + (2 * span * (value - table.low[line]) + width) / (2 * width);
}

/** A decimal number in millionths of its unit; what is beyond them is cut off. */
function parse(text: string): i64 {
  const dot = text.indexOf('.');
  const whole = dot < 0 ? text : text.substring(0, dot);
  const rest = dot < 0 ? '' : text.substring(dot + 1);
  if (whole.length == 0 || whole.length > 7 || rest.length > 15 || (dot >= 0 && rest.length == 0)) refuse(2, NO_NUMBER);
  let value: i64 = 0;
  for (let i = 0; i < whole.length + 6; i++) {
    let digit = 0;
    if (i < whole.length) digit = whole.charCodeAt(i) - 48;
    else if (i - whole.length < rest.length) digit = rest.charCodeAt(i - whole.length) - 48;
    if (digit < 0 || digit > 9) refuse(2, NO_NUMBER);
    value = value * 10 + digit;
  }
  for (let i = 6; i < rest.length; i++) if (rest.charCodeAt(i) < 48 || rest.charCodeAt(i) > 57) refuse(2, NO_NUMBER);
  return value;
}

function highestHour(readings: i64[]): i64 {
  let highest = MISSING;
  for (let i = 0; i < readings.length; i++) highest = max(highest, readings[i]);
  if (highest == MISSING) refuse(4, 'there is no reading at all');
  return highest;
}

/** The highest mean of `hours` hours in a row, of which three quarters are there; cut off; MISSING when there is none. */
function highestMean(readings: i64[], hours: i32, decimals: i32): i64 {
  let highest = MISSING;
  for (let start = 0; start + hours <= HOURS; start++) {
    let sum: i64 = 0;
    let count = 0;
    for (let i = start; i < start + hours && i < readings.length; i++) {
      if (readings[i] == MISSING) continue;
      sum += readings[i];
      count++;
    }
    if (4 * count >= 3 * hours) highest = max(highest, truncated(sum, count, decimals));
  }
  return highest;
}

function meanOrRefuse(readings: i64[], hours: i32, decimals: i32): i64 {
  const mean = highestMean(readings, hours, decimals);
  if (mean == MISSING) refuse(4, `too few readings: a mean of ${hours} hours needs three quarters of them`);
  return mean;
}

function decimal(value: i64, decimals: i32): string {
  if (decimals == 0) return value.toString();
  const unit = power(decimals);
  return `${value / unit}.${(value % unit).toString().padStart(decimals, '0')}`;
}

function line(pollutant: string, table: Table, value: i64): string {
  return `${pollutant} ${decimal(value, table.decimals)} ${indexOf(table, value)}\n`;
}

function ozone(readings: i64[]): string {
  const hour = truncated(highestHour(readings), 1, 3);
  const byHour = indexOf(O3_1H, hour);
  const mean = highestMean(readings, 8, 3);
  if (mean == MISSING && byHour < 0) refuse(4, 'too few readings: a mean of 8 hours needs six of them');
  // Eight-hour values define no index above 300; the highest hour, which is no lower, does.
  const byMean = mean > 200 ? -1 : indexOf(O3_8H, mean);
  return byMean >= byHour ? line('O3', O3_8H, mean) : line('O3', O3_1H, hour);
}

function sulfurDioxide(readings: i64[]): string {
  const hour = truncated(highestHour(readings), 1, 0);
  if (hour < 305) return line('SO2', SO2_1H, hour);
  const day = highestMean(readings, 24, 0);
  return day < 305 ? `SO2 ${hour} 200\n` : line('SO2', SO2_24H, day);
}

function report(pollutant: string, readings: i64[]): string {
  if (pollutant == 'PM2.5') return line(pollutant, PM25, meanOrRefuse(readings, 24, 1));
  if (pollutant == 'PM10') return line(pollutant, PM10, meanOrRefuse(readings, 24, 0));
  if (pollutant == 'CO') return line(pollutant, CO, meanOrRefuse(readings, 8, 1));
  if (pollutant == 'NO2') return line(pollutant, NO2, truncated(highestHour(readings), 1, 0));
  if (pollutant == 'SO2') return sulfurDioxide(readings);
  if (pollutant != 'O3') refuse(1, 'the first line must be PM2.5, PM10, O3, CO, SO2 or NO2');
  return ozone(readings);
}

export function task(input: StaticArray<u8>): StaticArray<u8> {
  const lines = String.UTF8.decodeUnsafe(changetype<usize>(input), input.length).trimEnd().split('\n');
  const readings: i64[] = [];
  for (let i = 1; i < lines.length; i++) {
    const text = lines[i].trim();
    readings.push(text == '-' ? MISSING : parse(text));
  }
  if (readings.length > HOURS) refuse(3, `${readings.length} readings came: 24 hours are the most`);
  return bytesOf(report(lines[0].trim(), readings));
}

function bytesOf(text: string): StaticArray<u8> {
  const bytes = new StaticArray<u8>(String.UTF8.byteLength(text));
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, changetype<usize>(bytes));
  return bytes;
}
