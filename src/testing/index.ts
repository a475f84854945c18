/**
 * What tests of an application, and of a backend of one's own, are made with.
 *
 * @since 0.1.0
 */
export * as SessionBackendTest from "./SessionBackendTest.ts"
export * as SessionTest from "./SessionTest.ts"
