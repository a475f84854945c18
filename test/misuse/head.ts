/** The head of what is printed of a failure: without the stack and the causes that follow. */
export const headOf = (text: string): string => text.replace(/(?: \{)?\n\s+(?:at (?!\[")|\[cause\]).*/s, "")
