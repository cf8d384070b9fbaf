// Addresses are 64 bits wide and numbers in JavaScript are not, so everything that is an address is a BigInt.

const GIB = 1n << 30n;
const REACH = 2n * GIB;
const UPPER_HALF = 0xffff800000000000n;
const LIMIT = 1n << 64n;
const PAGE = 4096n;
const UNITS = [[1n << 40n, "TiB"], [GIB, "GiB"], [1n << 20n, "MiB"], [1n << 10n, "KiB"]];

const wrap = (value) => BigInt.asUintN(64, value);
const signed = (value) => BigInt.asIntN(64, value);
const signed32 = (value) => BigInt.asIntN(32, value);
const fits32 = (value) => value === signed32(value);
const distance = (value) => (value < 0n ? -value : value);
const pageOf = (value) => value - (value % PAGE);

const hex = (value) => "0x" + wrap(value).toString(16).padStart(16, "0");
const signedHex = (value) => (value < 0n ? "−0x" : "0x") + distance(value).toString(16);
const counted = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** A distance as a person says it: `12 bytes`, `1.4 GiB`. */
function sizeText(size) {
  const bytes = distance(size);
  for (const [unit, name] of UNITS) {
    if (bytes >= unit) return `${(Number(bytes) / Number(unit)).toFixed(1)} ${name}`;
  }
  return counted(Number(bytes), "byte", "bytes");
}

/** The low `size` bytes of a number as they stand in memory: the lowest first. */
function bytesOf(value, size) {
  return Array.from({ length: size }, (_, index) => Number((wrap(value) >> BigInt(8 * index)) & 0xffn));
}

const fromHex = (text) => (text.match(/../g) ?? []).map((pair) => (pair === "??" ? null : parseInt(pair, 16)));
const byteText = (byte) => (byte === null ? "??" : byte.toString(16).padStart(2, "0"));

/** An address as somebody typed it, or null. */
function readAddress(text) {
  const digits = text.trim().replace(/[\s_]/g, "").replace(/^0x/i, "");
  return /^[0-9a-f]{1,16}$/i.test(digits) ? BigInt("0x" + digits) : null;
}
