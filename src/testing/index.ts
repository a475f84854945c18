/**
 * Tools for the tests of an application, and of a custom backend.
 *
 * @stability unstable
 * @since 0.1.0
 */

export * as SessionBackendTest from "./SessionBackendTest.ts"
export * as SessionTest from "./SessionTest.ts"
