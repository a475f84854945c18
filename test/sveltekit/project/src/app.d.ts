import type { RequestSession } from "./sessions"

declare global {
  namespace App {
    interface Locals {
      session: RequestSession
    }
  }
}
