/**
 * Goes on with one of several who wait. What throws in there is theirs, and is thrown where it keeps nobody else waiting.
 *
 * @internal
 */
export const guardedly = (goOn: () => void): void => {
  try {
    goOn()
  } catch (defect) {
    queueMicrotask(() => {
      throw defect
    })
  }
}
