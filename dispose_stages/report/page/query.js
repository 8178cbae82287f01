// Which rows are wanted, and in which order. A test takes a row's position.
const TERM = /(?:[^\s"]+|"[^"]*")+/g;
const COMPARISON = /^([^=<>]+)(<=|>=|=|<|>)(.*)$/s;

const comparisons = {
  "<": (a, b) => a < b,
  ">": (a, b) => a > b,
  "<=": (a, b) => a <= b,
  ">=": (a, b) => a >= b,
  "=": (a, b) => Math.abs(a - b) <= 1e-5 * Math.max(Math.abs(a), Math.abs(b)),
};

const numberTest = (values, compare, wanted) => {
  const bound = Number(wanted);
  if (wanted.trim() === "" || Number.isNaN(bound)) return () => false;
  return (row) => values[row] !== null && compare(values[row], bound);
};

const wordTest = ([words, codes], fits) => {
  const wanted = words.map(fits);
  return (row) => wanted[codes[row]];
};

const textTest = (texts, operator, value) => {
  const wanted = value.toLowerCase();
  if (operator === "=") {
    const whole = texts[0].some((word) => word.toLowerCase() === wanted);
    return wordTest(texts, (word) => (whole ? word.toLowerCase() === wanted : word.toLowerCase().includes(wanted)));
  }
  const bound = Number(value);
  return wordTest(texts, (word) => word !== "" && comparisons[operator](Number(word), bound));
};

const columnTest = async (column, operator, value) => {
  const data = await load(column.key);
  return column.number ? numberTest(data, comparisons[operator], value) : textTest(data, operator, value);
};

const anywhereTest = async (word) => {
  const wanted = word.toLowerCase();
  const texts = columns.filter((column) => !column.number && column.group !== "parameter");
  const tests = (await Promise.all(texts.map((column) => load(column.key))))
    .map((data) => wordTest(data, (text) => text.toLowerCase().includes(wanted)));
  return (row) => tests.some((test) => test(row));
};

const termTest = (term) => {
  const [, name, operator, value] = COMPARISON.exec(term) ?? [];
  const column = name && columnNamed(name.replaceAll('"', ""));
  return column ? columnTest(column, operator, value.replaceAll('"', "")) : anywhereTest(term.replaceAll('"', ""));
};

const warnedTest = async () => wordTest(await load(columnNamed("warnings").key), (word) => word !== "");

const ordered = async (rows, name, down) => {
  const column = columnNamed(name);
  if (!column) return down ? rows.reverse() : rows;
  const data = await load(column.key);
  const sign = down ? -1 : 1;
  if (column.number) {
    const last = (row) => data[row] === null;
    return rows.sort((a, b) => last(a) - last(b) || sign * (data[a] - data[b]) || a - b);
  }
  const [words, codes] = data;
  const collator = new Intl.Collator(undefined, { numeric: true });
  const places = [];
  words.map((word, code) => code).sort((a, b) => (words[a] === "") - (words[b] === "") || sign * collator.compare(words[a], words[b]))
    .forEach((code, place) => { places[code] = place; });
  return rows.sort((a, b) => places[codes[a]] - places[codes[b]] || a - b);
};

const search = async (tests, name, down) => {
  const all = await Promise.all(tests);
  const rows = [];
  for (let row = 0; row < page.rows; row++) if (all.every((test) => test(row))) rows.push(row);
  return ordered(rows, name, down);
};
