/**
 * Typed, revocable, server-side HTTP sessions for Effect.
 *
 * @stability unstable
 * @since 0.1.0
 */

export * as Session from "./Session.ts"
export * as SessionAdmin from "./SessionAdmin.ts"
export * as SessionBackend from "./SessionBackend.ts"
export * as SessionBackendMemory from "./SessionBackendMemory.ts"
export * as SessionBackendRedis from "./SessionBackendRedis.ts"
export * as SessionBackendSql from "./SessionBackendSql.ts"
export * as SessionError from "./SessionError.ts"
export * as SessionFrontend from "./SessionFrontend.ts"
export * as SessionHttpApi from "./SessionHttpApi.ts"
export * as SessionHttpApiClient from "./SessionHttpApiClient.ts"
export * as SessionHttpApiMiddleware from "./SessionHttpApiMiddleware.ts"
export * as SessionKeys from "./SessionKeys.ts"
export * as SessionManager from "./SessionManager.ts"
export * as SessionMetrics from "./SessionMetrics.ts"
export * as SessionMiddleware from "./SessionMiddleware.ts"
export * as SessionRpc from "./SessionRpc.ts"
export * as SessionSweeper from "./SessionSweeper.ts"
export * as SessionVerifier from "./SessionVerifier.ts"
