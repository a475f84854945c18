/** A misuse: a row of the tables in docs/errors.md, and of the tests. */
export interface Row {
  /** What one did, in Markdown. */
  readonly did: string
  /** What one sees, to the letter. */
  readonly sees: string
  /** What to change, in Markdown, where what one sees does not say it. */
  readonly change?: string
}
