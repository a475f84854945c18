/**
 * The key that is published: the test kit's own. A key ring refuses it.
 *
 * @internal
 */

/** The key of `SessionTest.layerKeys`. */
export const testKitKey = "W5aZ0cUe9xkQvT1rJ7mGd3fYpLs8bHnE4oXiRt6yAuC="

const bare = (text: string): string => text.trim().replace(/=+$/, "")

/** Whether a secret is published, also with other padding or with white space around it. */
export const isPublished = (secret: string): boolean => bare(secret) === bare(testKitKey)
