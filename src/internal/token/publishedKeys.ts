/**
 * The key that is published: the test kit's own. A key ring refuses it.
 *
 * @internal
 */

/** The key of `SessionTest.layerKeys`. */
export const testKitKey = "W5aZ0cUe9xkQvT1rJ7mGd3fYpLs8bHnE4oXiRt6yAuC="

const published = testKitKey.replace(/=$/, "").toLowerCase()

/** Whether a secret is published, however it is padded, quoted or prefixed. */
export const isPublished = (secret: string): boolean => secret.toLowerCase().includes(published)
