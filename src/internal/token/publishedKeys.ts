/**
 * Keys that are published: the test kit's own, and those a document of this library prints. A key ring refuses them.
 *
 * @internal
 */

/**
 * The key of `SessionTest.layerKeys`.
 *
 * @internal
 */
export const testKitKey = "W5aZ0cUe9xkQvT1rJ7mGd3fYpLs8bHnE4oXiRt6yAuC="

const published: ReadonlyArray<string> = [testKitKey]

/**
 * Whether a secret is one of them, also with other padding or with white space around it.
 *
 * @internal
 */
export const isPublished = (secret: string): boolean => {
  const bare = (text: string) => text.trim().replace(/=+$/, "")
  return published.some((key) => bare(key) === bare(secret))
}
