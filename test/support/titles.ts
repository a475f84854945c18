/** The titles of tests, as they are written in their files. */

const title =
  /\b(?:(?:it|test|describe|make\w*Case)(?:\.\w+)*(?:\([^()]*\))?\s*\(|rows:)\s*("(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`)/g

/** Those in the text of a test file: `rows` is what the tests of faults begin their titles with. */
export const titlesIn = (text: string): ReadonlyArray<string> =>
  [...text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "").matchAll(title)].map(([, title]) => title!)
