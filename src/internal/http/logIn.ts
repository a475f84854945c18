/**
 * How a request gets a new session: by `create`, by `reauthenticate`, or from another library's.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type {
  Changed,
  CreateOptions,
  Loaded,
  Refusal,
  RequestSession,
  Session,
  Tagged,
  Unauthenticated
} from "../../Session.ts"
import type { SessionConflict, SessionInvalid, SessionUnavailable } from "../../SessionError.ts"
import type { Credential } from "../../SessionFrontend.ts"
import { carriedBy } from "../frontend/carried.ts"
import { requestHeader } from "../frontend/requestHeader.ts"
import { undo } from "../manager/deadline.ts"
import { unproved } from "../manager/logIn.ts"
import type { Binding } from "./binding.ts"
import { distinct } from "./credentials.ts"
import type { ResponseHeaders } from "./responseHeaders.ts"

/**
 * Whether another library's session may take the place of ours: not where there is a choice of ours, or a stolen copy was
 * seen.
 */
export const isAdoptable = (error: { readonly _tag: string }): error is Unauthenticated =>
  Predicate.isTagged(error, "SessionMissing") ||
  (error._tag === "SessionInvalid" && !["Ambiguous", "Reused"].includes((error as SessionInvalid).reason))

/** Whether no page of another site reads the answer to a request: it comes from one of ours, or the browser goes here. */
export const isSameOriginOrNavigation = (request: HttpServerRequest): boolean => {
  const site = requestHeader(request, "sec-fetch-site") ?? "none"
  return site === "same-origin" || site === "none" || requestHeader(request, "sec-fetch-mode") === "navigate"
}

/** Makes interruptible again what was so. */
export type Restore = <B, E>(effect: Effect.Effect<B, E>) => Effect.Effect<B, E>

/** What a log-in needs of the request's session. */
export interface Own<Self, A, R extends ReadonlyArray<Tagged>> {
  readonly request: HttpServerRequest
  readonly binding: Binding<Self, A, R>
  readonly headers: ResponseHeaders
  /** When the request began, in nanoseconds. */
  readonly began: bigint
  readonly option: () => RequestSession<A, R>["option"]
  /** What `get` answers, once that is known. */
  readonly answer: () => Exit.Exit<Session<A>, Unauthenticated | Refusal<R> | SessionUnavailable> | undefined
  readonly current: () => Session<A> | undefined
  readonly set: (created: Session<A>) => void
  /** The session turned out to be gone. */
  readonly lost: (error: SessionInvalid) => void
  /** Ends what the request carries, but for a session that another is to replace. */
  readonly endCarried: (
    carried: ReadonlyArray<Credential>,
    replaced?: Session<A>
  ) => Effect.Effect<boolean, SessionUnavailable>
}

/** The log-ins of one request. A class, for its methods are made once and not for each request. */
export class LogIn<Self, A, R extends ReadonlyArray<Tagged>> {
  readonly #own: Own<Self, A, R>

  constructor(own: Own<Self, A, R>) {
    this.#own = own
  }

  /** What the layer says of every new session, where the handler says nothing. */
  #optionsOf(options: CreateOptions | undefined): CreateOptions {
    const { began, binding, request } = this.#own
    return {
      ...options,
      client: options?.client ?? binding.frontend.client?.(request),
      began: options?.began ?? began
    }
  }

  /** Ends a new session if its log-in fails: the old one may live on, so the new one must not. */
  #orUndo<B, E>(created: Session<A>, rest: Effect.Effect<B, E>): Effect.Effect<B, E> {
    const { manager } = this.#own.binding
    return Effect.tapCause(rest, () => undo(manager.destroy(created.token, { why: "undone" })))
  }

  /** Gives the response the token of a new session, once what it replaces has ended. */
  #issue<E = never>(
    operation: string,
    created: Session<A>,
    cookie: CreateOptions["cookie"],
    ending: Effect.Effect<unknown, E> = Effect.void
  ): Effect.Effect<Session<A>, E> {
    const { headers, set } = this.#own
    // The response may have gone meanwhile, without the token.
    const issuing = headers.before(operation, cookie, () => {
      set(created)
      headers.issue(created, cookie)
      return Exit.succeed(created)
    })
    return this.#orUndo(created, Effect.andThen(ending, issuing))
  }

  /** Makes a session beside those that the request carries, which end next. */
  #createBeside(
    carried: ReadonlyArray<Credential>,
    data: A,
    options: CreateOptions
  ): Effect.Effect<Session<A>, SessionInvalid | SessionConflict | SessionUnavailable> {
    const { binding, current, endCarried } = this.#own
    const session = current()
    const replaces = [...(session === undefined ? [] : [session]), ...carried].map(({ token }) => token)
    return Effect.flatMap(binding.manager.create(data, { ...options, replaces }), (created) =>
      this.#issue("create", created, options.cookie, endCarried(carried))
    )
  }

  /** Makes a session in place of the one the request has, or of a token that another request may be replacing. */
  #createFrom(
    f: (before: Option.Option<A>) => A,
    options: CreateOptions,
    restore: Restore
  ): Effect.Effect<Session<A>, SessionInvalid | SessionConflict | SessionUnavailable> {
    return Effect.gen({ self: this }, function* () {
      const { binding, endCarried, lost, option, request } = this.#own
      const { frontend, manager } = binding
      const before = Option.getOrUndefined(yield* restore(option()))
      const carried = yield* carriedBy(frontend, request)
      const tokens = before === undefined ? distinct(carried) : []
      const source = before ?? (tokens.length === 1 ? tokens[0]!.token : undefined)
      if (source === undefined) {
        return yield* this.#createBeside(carried, f(Option.none()), options)
      }
      // First: if they cannot be ended, nothing has happened yet.
      if (before !== undefined) yield* endCarried(carried, before)
      const created = yield* Effect.tapError(manager.createFrom(source, f, options), (error) =>
        Effect.sync(() => {
          if (before !== undefined && error._tag === "SessionInvalid") lost(error)
        })
      )
      return yield* this.#issue(
        "create",
        created,
        options.cookie,
        before === undefined ? endCarried(carried) : Effect.void
      )
    })
  }

  create(
    data: A | ((before: Option.Option<A>) => A),
    options: CreateOptions | undefined,
    restore: Restore
  ): Effect.Effect<Session<A>, SessionInvalid | SessionConflict | SessionUnavailable> {
    const { binding, request } = this.#own
    const given = this.#optionsOf(options)
    // Session data are JSON: a function is none.
    return typeof data === "function"
      ? this.#createFrom(data as (before: Option.Option<A>) => A, given, restore)
      : Effect.flatMap(carriedBy(binding.frontend, request), (carried) => this.#createBeside(carried, data, given))
  }

  reauthenticate(
    session: Session<A>,
    options: Parameters<RequestSession<A, R>["reauthenticate"]>[0]
  ): Changed<Session<A>, R> {
    const { began, binding, headers } = this.#own
    const cookie = headers.issued?.cookie
    return Effect.flatMap(binding.manager.reauthenticate(session, { ...options, began }), (created) =>
      this.#issue("reauthenticate", created, cookie)
    )
  }

  /** Makes a session of one that another library keeps, and lets it in like any other. */
  adopt(adopt: NonNullable<Binding<Self, A, R>["frontend"]["adopt"]>, error: Unauthenticated): Loaded<Session<A>, R> {
    const { answer, binding, headers, request, set } = this.#own
    const { manager } = binding
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(restore(adopt(request)), (adopted): Loaded<Session<A>, R> => {
        if (Option.isNone(adopted)) return Effect.fail(error)
        const { data, from, options } = adopted.value
        const given = this.#optionsOf(options)
        const letIn: Loaded<Session<A>, R> = from !== undefined
          ? manager.adopt(from, data, given)
          : Effect.flatMap(
              manager.create(data, { ...given, authenticatedAt: given.authenticatedAt ?? unproved }),
              (created) => this.#orUndo(created, manager.resolve(created.token, { touch: false }))
            )
        return Effect.flatMap(letIn, (session): Loaded<Session<A>, R> => {
          const answered = answer()
          if (answered === undefined) {
            // Here, where nothing interrupts: the next call of this request must find it.
            set(session)
            headers.issue(session, options?.cookie)
            return Exit.succeed(session)
          }
          // A `create` or `destroy` was faster, and has disowned what has a name.
          return from !== undefined
            ? answered
            : Effect.andThen(undo(manager.destroy(session.token, { why: "undone" })), answered)
        })
      })
    )
  }
}
