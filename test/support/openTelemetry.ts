/** An application's OpenTelemetry, with exporters in memory. */
import * as OtelMetrics from "@effect/opentelemetry/OtelMetrics"
import * as OtelTracer from "@effect/opentelemetry/OtelTracer"
import * as Resource from "@effect/opentelemetry/Resource"
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  PeriodicExportingMetricReader
} from "@opentelemetry/sdk-metrics"
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base"
import type { ReadableSpan } from "@opentelemetry/sdk-trace-base"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"

/** Of an attribute that Effect's server sets on every request's span. */
const isServers = (name: string): boolean =>
  /^(url|server|client|user_agent|network)\./.test(name) || /^http\.(request|route|response\.header)/.test(name)

/** What a span says besides: the status of the response, and what a test is about. */
export const said = (span: ReadableSpan): Record<string, unknown> => {
  const own = Object.entries(span.attributes).filter(([name]) => !isServers(name))
  return Object.fromEntries(own.map(([name, value]) => [name === "http.response.status_code" ? "status" : name, value]))
}

export const make = () => {
  const spans = new InMemorySpanExporter()
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] })
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })
  return {
    layer: Layer.mergeAll(
      OtelTracer.layer.pipe(Layer.provide(Layer.succeed(OtelTracer.OtelTracerProvider, provider))),
      OtelMetrics.layer(() => reader).pipe(Layer.provide(Resource.layerEmpty))
      // A registry of its own: other tests of the process count too.
    ).pipe(Layer.provideMerge(Layer.succeed(Metric.MetricRegistry, new Map()))),
    /** The spans that have ended since the last call. */
    spans: (): ReadonlyArray<ReadableSpan> => {
      const ended = [...spans.getFinishedSpans()]
      spans.reset()
      return ended
    },
    /** Of each counter its value for each set of labels. */
    counters: Effect.map(
      Effect.promise(async () => {
        exporter.reset()
        await reader.forceFlush()
        return exporter.getMetrics()
      }),
      (exported) =>
        exported.flatMap(({ scopeMetrics }) =>
          scopeMetrics.flatMap(({ metrics }) =>
            metrics.flatMap(({ dataPoints, descriptor }) =>
              dataPoints.map(
                ({ attributes, value }) =>
                  `${descriptor.name}{${Object.entries(attributes)
                    .map(([label, value]) => `${label}=${String(value)}`)
                    .join()}} ${String(value)}`
              )
            )
          )
        )
    )
  }
}
